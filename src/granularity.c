/*-------------------------------------------------------------------------
 *
 * granularity.c
 *		Sizes of windows, and the labels of windows.
 *
 * A size has one name, however it was written: the number of the coarsest
 * unit that it is a whole multiple of ('60 minutes' is hour, '1:30' is 90
 * minutes, '7 days' is week).  A label is the window's beginning in ISO 8601,
 * reduced to that unit; of several units, with their duration after it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "window.h"

#define USECS_PER_WEEK (7 * USECS_PER_DAY)

/* From 2000-01-01, a Saturday, to the Monday that weeks are counted from. */
#define FIRST_MONDAY (2 * USECS_PER_DAY)

#define MAX_YEARS 10000
#define MAX_USECS (MAX_YEARS / 400 * INT64CONST(146097) * USECS_PER_DAY)

static const char *const too_long = "A window can be at most 10000 years long.";

static const struct
{
	const char *name;
	char		designator;		/* of ISO 8601's durations */
	int64		months;
	int64		usecs;
}			units[] =

{
	[SC_UNIT_SECOND] = {"second", 'S', 0, USECS_PER_SEC},
	[SC_UNIT_MINUTE] = {"minute", 'M', 0, USECS_PER_MINUTE},
	[SC_UNIT_HOUR] = {"hour", 'H', 0, USECS_PER_HOUR},
	[SC_UNIT_DAY] = {"day", 'D', 0, USECS_PER_DAY},
	[SC_UNIT_WEEK] = {"week", 'W', 0, USECS_PER_WEEK},
	[SC_UNIT_MONTH] = {"month", 'M', 1, 0},
	[SC_UNIT_QUARTER] = {"quarter", '\0', 3, 0},
	[SC_UNIT_YEAR] = {"year", 'Y', MONTHS_PER_YEAR, 0},
	[SC_UNIT_ALL] = {"ALL", '\0', 0, 0},
};


/* ----------------------------------------------------------------
 * Sizes
 * ----------------------------------------------------------------
 */

/* The coarsest unit that a size is a whole multiple of; else seconds. */
static ScWindowUnit
coarsest_unit(int64 months, int64 usecs)
{
	ScWindowUnit unit;

	/* ISO 8601's durations know no quarters: there is only the one. */
	if (months == units[SC_UNIT_QUARTER].months)
		return SC_UNIT_QUARTER;
	for (unit = SC_UNIT_YEAR; unit > SC_UNIT_SECOND; unit--)
	{
		if (unit == SC_UNIT_QUARTER)
			continue;
		if (months != 0 ? units[unit].months != 0 && months % units[unit].months == 0
			: units[unit].usecs != 0 && usecs % units[unit].usecs == 0)
			break;
	}
	return unit;
}

/* Fill what follows from months and usecs. */
static void
complete(ScGranularity *granularity)
{
	ScWindowUnit unit = coarsest_unit(granularity->months, granularity->usecs);
	char		number[32];
	int64		n;
	int			len;

	granularity->unit = unit;
	granularity->finer_than_day = granularity->months == 0 &&
		granularity->usecs < USECS_PER_DAY;
	granularity->origin = unit == SC_UNIT_WEEK ? FIRST_MONDAY % granularity->usecs : 0;

	if (granularity->months != 0)
		n = granularity->months / units[unit].months;
	else
		n = granularity->usecs / units[unit].usecs;
	len = snprintf(number, sizeof(number), INT64_FORMAT, n);
	if (unit == SC_UNIT_SECOND && granularity->usecs % USECS_PER_SEC != 0)
	{
		len += snprintf(number + len, sizeof(number) - len, ".%06d",
						(int) (granularity->usecs % USECS_PER_SEC));
		granularity->fraction = 6;
		while (number[len - 1] == '0')
		{
			number[--len] = '\0';
			granularity->fraction--;
		}
	}
	if (n == 1 && granularity->fraction == 0)
	{
		strlcpy(granularity->name, units[unit].name, SC_GRANULARITY_LEN);
		return;
	}
	snprintf(granularity->name, SC_GRANULARITY_LEN, "%s %ss", number, units[unit].name);
	snprintf(granularity->suffix, SC_GRANULARITY_LEN, "/P%s%s%c",
			 unit < SC_UNIT_DAY ? "T" : "", number, units[unit].designator);
}

const char *
sc_window_compile(ScGranularity *granularity, const Interval *size)
{
	memset(granularity, 0, sizeof(ScGranularity));
	if (size->month < 0 || size->day < 0 || size->time < 0)
		return "No part of a window's size can be negative.";
	if (size->month == 0 && size->day == 0 && size->time == 0)
		return "A window must be longer than zero.";
	if (size->month != 0 && (size->day != 0 || size->time != 0))
		return "A size in months or years can have neither days nor a time.";
	if (size->month > MAX_YEARS * MONTHS_PER_YEAR)
		return too_long;
	granularity->months = size->month;
	if (pg_mul_s64_overflow(size->day, USECS_PER_DAY, &granularity->usecs) ||
		pg_add_s64_overflow(granularity->usecs, size->time, &granularity->usecs) ||
		granularity->usecs > MAX_USECS)
		return too_long;
	complete(granularity);
	return NULL;
}

const char *
sc_window_shift(ScGranularity *granularity, const Interval *shift)
{
	int64		usecs;

	if (granularity->months != 0)
	{
		if (shift->day < -31 || shift->day > 31 ||
			shift->time < -31 * USECS_PER_DAY || shift->time > 31 * USECS_PER_DAY)
			return "Beside months and years, a shift can have at most 31 days.";
		granularity->first_month = shift->month % granularity->months;
		granularity->origin = shift->day * USECS_PER_DAY + shift->time;
		return NULL;
	}
	if (shift->month != 0)
		return "Only windows whose size is in months or years can be shifted by such.";
	if (pg_mul_s64_overflow(shift->day, USECS_PER_DAY, &usecs) ||
		pg_add_s64_overflow(usecs, shift->time, &usecs))
		return "The shift is out of range.";
	usecs = granularity->origin + usecs % granularity->usecs;
	granularity->origin = usecs - granularity->usecs *
		sc_window_floor(usecs, granularity->usecs);
	return NULL;
}

/*
 * Where the clock shows a beginning of a coarse cell, it must show one of a
 * fine cell.  That is enough, for where no clock ever shows the beginning, or
 * shows it twice, the coarse window begins when the clocks are changed: there
 * a window finer than a day is cut, and one of a day or more that has the same
 * beginning is moved in the same way.
 */
bool
sc_window_nests(const ScGranularity *coarse, const ScGranularity *fine)
{
	if (coarse->unit == SC_UNIT_ALL || fine->unit == SC_UNIT_ALL)
		return coarse->unit == SC_UNIT_ALL;
	if (fine->months != 0)
		return coarse->months != 0 && coarse->months % fine->months == 0 &&
			(coarse->first_month - fine->first_month) % fine->months == 0 &&
			coarse->origin == fine->origin;

	/* Months begin with a day, and have any number of them. */
	return (coarse->months != 0 ? USECS_PER_DAY : coarse->usecs) % fine->usecs == 0 &&
		(coarse->origin - fine->origin) % fine->usecs == 0;
}

/* What interval_in() accepts, but without its ERROR. */
static bool
parse_interval(const char *text, Interval *interval)
{
	struct pg_itm_in itm = {0};
	char		workbuf[MAXDATELEN + 1];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nfields;
	int			dtype;
	int			error;

	error = ParseDateTime(text, workbuf, sizeof(workbuf), field, ftype,
						  MAXDATEFIELDS, &nfields);
	if (error == 0)
		error = DecodeInterval(field, ftype, nfields, INTERVAL_FULL_RANGE,
							   &dtype, &itm);
	if (error == DTERR_BAD_FORMAT)
		error = DecodeISO8601Interval(unconstify(char *, text), &dtype, &itm);
	return error == 0 && dtype == DTK_DELTA && itmin2interval(&itm, interval) == 0;
}

const char *
sc_window_parse(ScGranularity *granularity, const char *text)
{
	Interval	size;
	ScWindowUnit unit;

	for (unit = SC_UNIT_SECOND; unit <= SC_UNIT_ALL; unit++)
	{
		if (pg_strcasecmp(text, units[unit].name) != 0)
			continue;
		memset(granularity, 0, sizeof(ScGranularity));
		granularity->months = units[unit].months;
		granularity->usecs = units[unit].usecs;
		if (unit != SC_UNIT_ALL)
			complete(granularity);
		else
		{
			granularity->unit = unit;
			strlcpy(granularity->name, units[unit].name, SC_GRANULARITY_LEN);
		}
		return NULL;
	}
	if (!parse_interval(text, &size))
		return "It is neither the name of a granularity nor an interval.";
	return sc_window_compile(granularity, &size);
}

/* ----------------------------------------------------------------
 * Labels
 * ----------------------------------------------------------------
 */

static char *
put_digits(char *buf, int value, int width)
{
	int			i;

	for (i = width; i-- > 0; value /= 10)
		buf[i] = '0' + value % 10;
	return buf + width;
}

static char *
put_after(char *buf, char before, int value)
{
	*buf = before;
	return put_digits(buf + 1, value, 2);
}

/*
 * Four digits, or, outside 0000 to 9999, a sign and six: the expanded years
 * of ISO 8601, with as many digits as ECMAScript agreed on for them.
 */
static char *
put_year(char *buf, int year)
{
	if (year >= 0 && year <= 9999)
		return put_digits(buf, year, 4);
	*buf = year < 0 ? '-' : '+';
	return put_digits(buf + 1, abs(year), 6);
}

/* The week that begins on this Monday: its year is its Thursday's. */
static char *
put_week(char *buf, int64 monday)
{
	int			year;
	int			month;
	int			mday;

	sc_window_date(monday + 3, &year, &month, &mday);
	buf = put_year(buf, year);
	*buf++ = '-';
	return put_after(buf, 'W', (int) (monday + 3 - sc_window_day(year, 1, 1)) / 7 + 1);
}

static char *
put_time(char *buf, const ScGranularity *granularity, int64 time)
{
	buf = put_after(buf, 'T', (int) (time / USECS_PER_HOUR));
	if (granularity->unit >= SC_UNIT_HOUR)
		return buf;
	buf = put_after(buf, ':', (int) (time / USECS_PER_MINUTE % MINS_PER_HOUR));
	if (granularity->unit == SC_UNIT_MINUTE)
		return buf;
	buf = put_after(buf, ':', (int) (time / USECS_PER_SEC % SECS_PER_MINUTE));
	if (granularity->fraction > 0)
	{
		*buf++ = '.';
		put_digits(buf, (int) (time % USECS_PER_SEC), 6);
		buf += granularity->fraction;
	}
	return buf;
}

/* Hours and minutes; seconds, too, where local mean time has them. */
static char *
put_offset(char *buf, int64 offset)
{
	int			seconds = (int) ((offset < 0 ? -offset : offset) / USECS_PER_SEC);

	buf = put_after(buf, offset < 0 ? '-' : '+', seconds / SECS_PER_HOUR);
	buf = put_after(buf, ':', seconds / SECS_PER_MINUTE % MINS_PER_HOUR);
	if (seconds % SECS_PER_MINUTE != 0)
		buf = put_after(buf, ':', seconds % SECS_PER_MINUTE);
	return buf;
}

int
sc_window_label(const ScGranularity *granularity, const ScZone *zone,
				const ScWindow *window, char buf[SC_LABEL_LEN])
{
	ScWindowUnit unit = granularity->unit;
	char	   *p = buf;
	int64		day;
	int			year;
	int			month;
	int			mday;

	if (unit == SC_UNIT_ALL)
		return (int) strlcpy(buf, granularity->name, SC_LABEL_LEN);

	day = sc_window_floor(window->wall, USECS_PER_DAY);
	if (unit == SC_UNIT_WEEK)
		p = put_week(p, day);
	else
	{
		sc_window_date(day, &year, &month, &mday);
		p = put_year(p, year);
		if (unit == SC_UNIT_QUARTER)
		{
			*p++ = '-';
			*p++ = 'Q';
			p = put_digits(p, (month - 1) / 3 + 1, 1);
		}
		else if (unit <= SC_UNIT_MONTH)
			p = put_after(p, '-', month);
		if (unit <= SC_UNIT_DAY)
			p = put_after(p, '-', mday);
	}
	/* 36 hours are coarser than a day, and begin at an hour. */
	if (unit < SC_UNIT_DAY)
		p = put_time(p, granularity, window->wall - day * USECS_PER_DAY);
	if (granularity->finer_than_day && !zone->utc)
		p = put_offset(p, window->offset);
	return (int) (p - buf) +
		(int) strlcpy(p, granularity->suffix, SC_LABEL_LEN - (p - buf));
}
