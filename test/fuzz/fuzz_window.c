/*-------------------------------------------------------------------------
 *
 * fuzz_window.c
 *		Any size, shift, zone and time to a window and its label.
 *
 * Each time is in one window, windows follow one another without a gap, their
 * labels differ and sort, and the granularity's name gives it back.  In UTC,
 * windows are those that arithmetic gives.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "common/int.h"
#include "utils/timestamp.h"
#include "window.h"

/* Years that a label writes with four digits: of others it does not sort. */
#define SORTS_FROM	(INT64CONST(-730119) * USECS_PER_DAY)	/* 0001-01-01 */
#define SORTS_UNTIL	(INT64CONST(2921939) * USECS_PER_DAY)	/* 9999-12-31 */

static const char *const zone_names[] = {
	"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
	"Africa/Monrovia", "Pacific/Apia", "America/St_Johns", "Africa/Casablanca",
	"Antarctica/Troll", "Europe/Dublin", "Asia/Gaza", "Etc/GMT+12", "Pacific/Kiritimati",
};

static pg_tz *zones[lengthof(zone_names)];

static void
start(void)
{
	for (int i = 0; i < (int) lengthof(zones); i++)
	{
		zones[i] = pg_tzset(zone_names[i]);
		if (zones[i] == NULL)
			fuzz_fail("there is no time zone \"%s\"", zone_names[i]);
	}
}

/* A size and a shift: by name, by text or by numbers */
static bool
take_granularity(FuzzBytes *bytes, ScGranularity *granularity)
{
	int			kind = (int) fuzz_take(bytes, 1);
	Interval	interval;

	if (kind & 1)
	{
		if (sc_window_parse(granularity, fuzz_take_string(bytes)) != NULL)
			return false;
	}
	else
	{
		interval.month = (int32) fuzz_take(bytes, (kind & 2) ? 4 : 1);
		interval.day = (int32) fuzz_take(bytes, (kind & 4) ? 4 : 1);
		interval.time = (int64) fuzz_take(bytes, (kind & 8) ? 8 : 2);
		if ((kind & 24) == 16)
			interval.time *= USECS_PER_SEC;
		if (sc_window_compile(granularity, &interval) != NULL)
			return false;
	}
	if (granularity->unit != SC_UNIT_ALL && (kind & 32))
	{
		interval.month = (int32) fuzz_take(bytes, 1);
		interval.day = (int8) fuzz_take(bytes, 1);
		interval.time = (int64) fuzz_take(bytes, (kind & 64) ? 8 : 5);
		if (sc_window_shift(granularity, &interval) != NULL)
			return false;
	}
	return true;
}

/* A size is the one that its name gives; the shift is not in the name. */
static void
check_name(const ScGranularity *granularity)
{
	ScGranularity again;
	const char *trouble = sc_window_parse(&again, granularity->name);

	if (trouble != NULL)
		fuzz_fail("the name \"%s\": %s", granularity->name, trouble);
	if (strcmp(again.name, granularity->name) != 0 || again.unit != granularity->unit ||
		again.months != granularity->months || again.usecs != granularity->usecs ||
		strcmp(again.suffix, granularity->suffix) != 0)
		fuzz_fail("the name \"%s\" gives \"%s\"", granularity->name, again.name);
}

/* Found by a zone that remembers nothing */
static ScWindow
find(const ScGranularity *granularity, pg_tz *tz, TimestampTz time)
{
	ScZone		zone;
	ScWindow	window = {0};

	sc_window_set_zone(&zone, tz);
	(void) sc_window_find(granularity, &zone, time, &window);
	return window;
}

static bool
same_window(const ScWindow *a, const ScWindow *b)
{
	return a->start == b->start && a->end == b->end;
}

static void
check_utc(const ScGranularity *granularity, TimestampTz time, const ScWindow *window)
{
	int64		cell;

	if (granularity->months != 0 || granularity->unit == SC_UNIT_ALL ||
		window->start == DT_NOBEGIN || window->end == DT_NOEND)
		return;
	cell = (time - granularity->origin) / granularity->usecs;
	if (cell * granularity->usecs > time - granularity->origin)
		cell--;
	if (window->start != cell * granularity->usecs + granularity->origin ||
		window->end != window->start + granularity->usecs)
		fuzz_fail("%s: " INT64_FORMAT " is in [" INT64_FORMAT ", " INT64_FORMAT ") in UTC",
				  granularity->name, time, window->start, window->end);
}

/* What windows() gives labels to; tumble(), hop() and cumulate() shift, and give none. */
static bool
has_labels(const ScGranularity *granularity)
{
	ScGranularity plain;

	return sc_window_parse(&plain, granularity->name) == NULL &&
		plain.first_month == granularity->first_month && plain.origin == granularity->origin;
}

/* Of two windows that follow one another */
static void
check_labels(const ScGranularity *granularity, pg_tz *tz, const ScWindow *window,
			 const ScWindow *next)
{
	char		label[SC_LABEL_LEN];
	char		next_label[SC_LABEL_LEN];
	ScZone		zone;
	bool		ambiguous = (granularity->finer_than_day && window->offset != next->offset);
	int			order;

	sc_window_set_zone(&zone, tz);
	if (sc_window_label(granularity, &zone, window, label) != (int) strlen(label) ||
		sc_window_label(granularity, &zone, next, next_label) != (int) strlen(next_label))
		fuzz_fail("the length of a label is not what was said");
	order = strcmp(label, next_label);
	if (order == 0)
		fuzz_fail("%s: two windows have the label \"%s\"", granularity->name, label);
	/* the hour that the clocks show twice may not sort */
	if (order > 0 && !ambiguous &&
		window->start >= SORTS_FROM && next->end != DT_NOEND && next->end < SORTS_UNTIL)
		fuzz_fail("%s: \"%s\" is before \"%s\"", granularity->name, label, next_label);
}

static void
check_window(const ScGranularity *granularity, pg_tz *tz, TimestampTz time)
{
	ScWindow	window = find(granularity, tz, time);
	ScWindow	other;

	if (window.start > time || window.end <= time)
		fuzz_fail("%s: " INT64_FORMAT " is not in [" INT64_FORMAT ", " INT64_FORMAT ")",
				  granularity->name, time, window.start, window.end);
	if (window.start != DT_NOBEGIN)
	{
		other = find(granularity, tz, window.start);
		if (!same_window(&window, &other))
			fuzz_fail("%s: the window's start is in another", granularity->name);
	}
	other = find(granularity, tz, window.end == DT_NOEND ? time : window.end - 1);
	if (!same_window(&window, &other))
		fuzz_fail("%s: the window's last time is in another", granularity->name);
	if (window.end == DT_NOEND || window.start == DT_NOBEGIN)
		return;
	other = find(granularity, tz, window.end);
	if (other.start != window.end)
		fuzz_fail("%s: after " INT64_FORMAT " comes " INT64_FORMAT, granularity->name,
				  window.end, other.start);
	if (has_labels(granularity))
		check_labels(granularity, tz, &window, &other);
	if (tz == zones[0])
		check_utc(granularity, time, &window);
}

/* Each window of the finer lies inside one of the coarser */
static void
check_nesting(const ScGranularity *coarse, const ScGranularity *fine, pg_tz *tz,
			  TimestampTz time)
{
	ScWindow	inner = find(fine, tz, time);
	ScWindow	outer = find(coarse, tz, time);

	if (sc_window_nests(coarse, fine) &&
		(inner.start < outer.start || inner.end > outer.end))
		fuzz_fail("a window of %s is not inside one of %s", fine->name, coarse->name);
}

/* Remembering what was found before changes nothing. */
static void
check_memory(const ScGranularity *granularity, pg_tz *tz, TimestampTz *times, int ntimes)
{
	ScZone		zone;
	ScWindow	window = {0};

	sc_window_set_zone(&zone, tz);
	for (int i = 0; i < ntimes; i++)
	{
		ScWindow	fresh = find(granularity, tz, times[i]);

		(void) sc_window_find(granularity, &zone, times[i], &window);
		if (!same_window(&window, &fresh) || window.wall != fresh.wall ||
			window.offset != fresh.offset)
			fuzz_fail("%s: the window of " INT64_FORMAT " depends on the one before",
					  granularity->name, times[i]);
	}
}

/* In this century, or anywhere */
static TimestampTz
take_time(FuzzBytes *bytes)
{
	int			kind = (int) fuzz_take(bytes, 1);
	int64		time;

	if (kind & 1)
		time = (int64) fuzz_take(bytes, 8);
	else
		time = ((int64) fuzz_take(bytes, 4) - ((kind & 2) ? PG_UINT32_MAX : 0)) * USECS_PER_SEC +
			(int64) fuzz_take(bytes, (kind & 4) ? 3 : 0);
	if (time < MIN_TIMESTAMP)
		time = MIN_TIMESTAMP;
	return Min(time, END_TIMESTAMP - 1);
}

static void
one(const char *data, size_t len)
{
	FuzzBytes	bytes = {data, data + len};
	pg_tz	   *tz = zones[fuzz_take(&bytes, 1) % lengthof(zones)];
	TimestampTz times[4];
	ScGranularity granularity;
	ScGranularity other;

	for (int i = 0; i < (int) lengthof(times); i++)
		times[i] = take_time(&bytes);
	if (!take_granularity(&bytes, &granularity))
		return;
	check_name(&granularity);
	for (int i = 0; i < (int) lengthof(times); i++)
		check_window(&granularity, tz, times[i]);
	check_memory(&granularity, tz, times, lengthof(times));

	if (!take_granularity(&bytes, &other))
		return;
	for (int i = 0; i < (int) lengthof(times); i++)
	{
		check_nesting(&granularity, &other, tz, times[i]);
		check_nesting(&other, &granularity, tz, times[i]);
	}
}

const FuzzTarget fuzz_window = {"window", start, one};
