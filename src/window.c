/*-------------------------------------------------------------------------
 *
 * window.c
 *		The window that a time is in.
 *
 * The cells of a granularity are cut by the clock: whole multiples of its
 * size from 2000-01-01, from a Monday where the size is in weeks.  Where the
 * clocks are changed, a cell is not an interval of time; so:
 *
 * - a window finer than a day has one offset from UTC, that is, it ends when
 *	 the clocks are changed.  The hour that is shown twice in autumn is two
 *	 windows;
 * - a window of a day or more begins when the clock shows its beginning and
 *	 does not go back behind it any more.  A local day has 23 or 25 hours
 *	 then.
 *
 * Nothing here allocates.  A time is compared with the window found last,
 * then with the span of the offset found last; only a time outside both costs
 * a search in the time zone's transitions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "window.h"

/* Seconds from 1970, which pg_time_t counts from, to 2000. */
#define EPOCH_DISTANCE \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* How far back a search for transitions begins. */
#define LOOK_BACK (400 * (pg_time_t) SECS_PER_DAY)

/* Local time is less than this from UTC. */
#define MAX_OFFSET USECS_PER_DAY

/* The calendar repeats after it, and is in j2date()'s range after fifty. */
#define DAYS_OF_400_YEARS 146097
#define CYCLES_AHEAD 50


/* ----------------------------------------------------------------
 * The calendar
 * ----------------------------------------------------------------
 */

/* The date of a day, counted from 2000-01-01; 1 BC is year 0. */
void
sc_window_date(int64 day, int *year, int *month, int *mday)
{
	j2date((int) (day + POSTGRES_EPOCH_JDATE + CYCLES_AHEAD * DAYS_OF_400_YEARS),
		   year, month, mday);
	*year -= CYCLES_AHEAD * 400;
}

int64
sc_window_day(int year, int month, int mday)
{
	return (int64) date2j(year + CYCLES_AHEAD * 400, month, mday) -
		POSTGRES_EPOCH_JDATE - CYCLES_AHEAD * DAYS_OF_400_YEARS;
}

/* ----------------------------------------------------------------
 * Time zones
 * ----------------------------------------------------------------
 */

void
sc_window_set_zone(ScZone *zone, pg_tz *tz)
{
	long int	offset;

	memset(zone, 0, sizeof(ScZone));
	zone->tz = tz;
	if (pg_get_timezone_offset(tz, &offset))
	{
		zone->utc = (offset == 0);
		zone->offset = offset * USECS_PER_SEC;
		zone->valid_from = zone->since = DT_NOBEGIN;
		zone->until = DT_NOEND;
	}
}

/*
 * The next change of the offset after a time, and the offset until then.
 * False when there is none any more.
 */
static bool
next_change(const pg_tz *tz, pg_time_t after, pg_time_t *change, long int *offset)
{
	pg_time_t	last = END_TIMESTAMP / USECS_PER_SEC + EPOCH_DISTANCE;
	long int	next_offset;
	int			isdst;
	int			next_isdst;

	do
	{
		/*
		 * Asked at the very last transition of the table, the function says
		 * that there is none, even where a rule continues the table.
		 */
		if (pg_next_dst_boundary(&after, offset, &isdst,
								 change, &next_offset, &next_isdst, tz) <= 0)
		{
			after++;
			if (pg_next_dst_boundary(&after, offset, &isdst,
									 change, &next_offset, &next_isdst, tz) <= 0)
				return false;
		}
		after = *change;
		if (after > last)
			return false;
	} while (*offset == next_offset);
	return true;
}

/* Make the zone valid for a time. */
static void
seek(ScZone *zone, TimestampTz time)
{
	pg_time_t	at = sc_window_floor(time, USECS_PER_SEC) + EPOCH_DISTANCE;
	pg_time_t	from = at - LOOK_BACK;
	pg_time_t	change;
	long int	offset;

	/* Far enough from where the search began not to miss a change. */
	zone->valid_from = (from - EPOCH_DISTANCE) * USECS_PER_SEC + USECS_PER_DAY;
	zone->since = DT_NOBEGIN;
	zone->until = DT_NOEND;
	while (next_change(zone->tz, from, &change, &offset))
	{
		TimestampTz changed = (change - EPOCH_DISTANCE) * USECS_PER_SEC;

		if (change > at)
		{
			zone->until = changed;
			break;
		}
		zone->valid_from = zone->since = changed;
		from = change;
	}
	zone->offset = offset * USECS_PER_SEC;
}

static inline void
use_offset_of(ScZone *zone, TimestampTz time)
{
	if (unlikely(time < zone->valid_from || time >= zone->until))
		seek(zone, time);
}

/* The time from which on the clock shows wall or later, for good. */
static TimestampTz
reaches(ScZone *zone, int64 wall)
{
	TimestampTz from = wall - MAX_OFFSET;
	TimestampTz time = wall - zone->offset;

	if (time - 2 * MAX_OFFSET >= zone->valid_from &&
		time < zone->until - 2 * MAX_OFFSET)
		return time;			/* no change is near */

	for (;;)
	{
		use_offset_of(zone, from);
		if (wall - zone->offset > from)
			time = Min(wall - zone->offset, zone->until);
		if (zone->until > wall + MAX_OFFSET)
			return time;
		from = zone->until;
	}
}

/* ----------------------------------------------------------------
 * Windows
 * ----------------------------------------------------------------
 */

/* The beginning of a month, counted from the first_month of 2000. */
static int64
month_start(const ScGranularity *granularity, int64 index)
{
	int64		month = index + granularity->first_month;
	int64		years = sc_window_floor(month, MONTHS_PER_YEAR);
	int64		day = sc_window_day(2000 + (int) years,
									(int) (month - years * MONTHS_PER_YEAR) + 1, 1);
	int64		start;

	if (pg_mul_s64_overflow(day, USECS_PER_DAY, &start) ||
		pg_add_s64_overflow(start, granularity->origin, &start))
		return PG_INT64_MAX;
	return start;
}

/* The cell that a clock's time is in. */
static void
find_cell(const ScGranularity *granularity, int64 wall, int64 *start, int64 *end)
{
	if (granularity->months == 0)
	{
		*start = granularity->origin + granularity->usecs *
			sc_window_floor(wall - granularity->origin, granularity->usecs);
		if (pg_add_s64_overflow(*start, granularity->usecs, end))
			*end = PG_INT64_MAX;
	}
	else
	{
		int			year;
		int			month;
		int			mday;
		int64		index;

		if (pg_sub_s64_overflow(wall, granularity->origin, &wall))
			wall = PG_INT64_MAX;
		sc_window_date(sc_window_floor(wall, USECS_PER_DAY), &year, &month, &mday);
		index = (year - 2000) * MONTHS_PER_YEAR + month - 1 - granularity->first_month;
		index = granularity->months * sc_window_floor(index, granularity->months);
		*start = month_start(granularity, index);
		*end = month_start(granularity, index + granularity->months);
	}
}

/* A window that has one offset. */
static void
find_fine(const ScGranularity *granularity, ScZone *zone, TimestampTz time,
		  ScWindow *window)
{
	int64		end;

	use_offset_of(zone, time);
	find_cell(granularity, time + zone->offset, &window->wall, &end);
	window->offset = zone->offset;
	window->start = Max(window->wall - zone->offset, zone->since);
	window->end = Min(end - zone->offset, zone->until);
}

/* A window of one or many days by the clock. */
static void
find_coarse(const ScGranularity *granularity, ScZone *zone, TimestampTz time,
			ScWindow *window)
{
	int64		end;

	use_offset_of(zone, time);
	find_cell(granularity, time + zone->offset, &window->wall, &end);
	window->offset = 0;
	window->end = end < END_TIMESTAMP + MAX_OFFSET ? reaches(zone, end) : DT_NOEND;
	/* The clock may show a day that it will leave once more. */
	while ((window->start = reaches(zone, window->wall)) > time)
	{
		window->end = window->start;
		find_cell(granularity, window->wall - 1, &window->wall, &end);
	}
}

bool
sc_window_find(const ScGranularity *granularity, ScZone *zone,
			   TimestampTz time, ScWindow *window)
{
	if (likely(time >= window->start && time < window->end))
		return false;

	if (granularity->unit == SC_UNIT_ALL)
	{
		window->start = DT_NOBEGIN;
		window->end = DT_NOEND;
		return true;
	}
	if (granularity->finer_than_day)
		find_fine(granularity, zone, time, window);
	else
		find_coarse(granularity, zone, time, window);
	if (window->start < MIN_TIMESTAMP)
		window->start = DT_NOBEGIN;
	if (window->end >= END_TIMESTAMP)
		window->end = DT_NOEND;
	return true;
}
