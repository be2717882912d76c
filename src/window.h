/*-------------------------------------------------------------------------
 *
 * window.h
 *		Time to window and label.
 *
 * A granularity cuts the time line, as the clocks of a time zone show it,
 * into windows: each instant is in exactly one, and window_end is the next
 * one's window_start.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_WINDOW_H
#define SC_WINDOW_H

#include "streamcount.h"

#include "datatype/timestamp.h"

#define SC_GRANULARITY_LEN 40
#define SC_LABEL_LEN 96

/* From fine to coarse. */
typedef enum ScWindowUnit
{
	SC_UNIT_SECOND,
	SC_UNIT_MINUTE,
	SC_UNIT_HOUR,
	SC_UNIT_DAY,
	SC_UNIT_WEEK,
	SC_UNIT_MONTH,
	SC_UNIT_QUARTER,
	SC_UNIT_YEAR,
	SC_UNIT_ALL
} ScWindowUnit;

/* A size, ready for use.  Two that are the same size are the same in all. */
typedef struct ScGranularity
{
	ScWindowUnit unit;			/* the coarsest that it is a multiple of */
	int64		months;			/* 0: the size is in usecs */
	int64		usecs;			/* 0: the size is in months, or all */
	bool		finer_than_day;
	int			fraction;		/* digits of a second's fraction in labels */
	/* Where the clock's time is cut: distance from 2000-01-01 */
	int64		first_month;
	int64		origin;
	char		name[SC_GRANULARITY_LEN];	/* "hour", "15 minutes" */
	char		suffix[SC_GRANULARITY_LEN]; /* of labels: "", "/PT15M" */
} ScGranularity;

/* A time zone, and where its clocks were set last. */
typedef struct ScZone
{
	pg_tz	   *tz;
	bool		utc;
	/* For times from valid_from to before until: */
	TimestampTz valid_from;
	TimestampTz until;			/* when the clocks are changed next */
	TimestampTz since;			/* when they were changed; DT_NOBEGIN: long ago */
	int64		offset;			/* microseconds east of UTC */
} ScZone;

typedef struct ScWindow
{
	TimestampTz start;
	TimestampTz end;			/* the first time after it */
	int64		wall;			/* what the clock shows at its nominal start */
	int64		offset;			/* finer than a day: microseconds east of UTC */
} ScWindow;

/*
 * Each of these three returns NULL, or a sentence that says what is wrong.
 * A shift moves where the windows begin by the clock.
 */
extern const char *sc_window_parse(ScGranularity *granularity, const char *text);
extern const char *sc_window_compile(ScGranularity *granularity,
									 const Interval *size);
extern const char *sc_window_shift(ScGranularity *granularity,
								   const Interval *shift);

/*
 * Does every window of fine lie inside one window of coarse, in every time
 * zone?  Then the latter is the one that any time of the former is in.
 */
extern bool sc_window_nests(const ScGranularity *coarse, const ScGranularity *fine);

extern void sc_window_set_zone(ScZone *zone, pg_tz *tz);

/*
 * The window that a finite time is in.  *window is the one found before, of
 * the same granularity and zone, or all zero: most times are in the same one
 * again, and then false is returned.  A bound beyond the range of timestamptz
 * is infinite.
 */
extern bool sc_window_find(const ScGranularity *granularity, ScZone *zone,
						   TimestampTz time, ScWindow *window);

/* Write the label, NUL-terminated, and return its length. */
extern int	sc_window_label(const ScGranularity *granularity, const ScZone *zone,
							const ScWindow *window, char buf[SC_LABEL_LEN]);

/* The calendar, and division that rounds down, for the files of this room. */
extern void sc_window_date(int64 day, int *year, int *month, int *mday);
extern int64 sc_window_day(int year, int month, int mday);

static inline int64
sc_window_floor(int64 value, int64 by)
{
	int64		quotient = value / by;

	return quotient * by > value ? quotient - 1 : quotient;
}

#endif							/* SC_WINDOW_H */
