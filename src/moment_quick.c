/*-------------------------------------------------------------------------
 *
 * moment_quick.c
 *		Times in the forms that most messages have, read without PostgreSQL's
 *		input functions.
 *
 * What is read here, those functions read alike.  Rare forms (leap seconds,
 * 24:00, years of other than four digits, times that need rounding) are left
 * to them, so that each rule here is a plain one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "moment.h"
#include "moment_quick.h"
#include "utils/datetime.h"

#define DATE_LEN			10	/* 2014-09-21 */
#define TIME_LEN			8	/* 13:05:00 */
#define TWITTER_LEN			30	/* Wed Aug 27 13:08:45 +0000 2008 */

#define FIRST_YEAR			1000	/* the first one of four digits */
#define EPOCH_DIFF_USECS	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* Some four thousand years: a time as near to 1970 is valid in any zone. */
#define NEAR_SECS			(INT64CONST(4000) * 365 * SECS_PER_DAY)

typedef struct Clock
{
	int			year;
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second;
	int			usec;
} Clock;

void
sc_moment_quick_form(ScTimeForm *form, const ScColumn *column)
{
	long		offset = 0;

	memset(form, 0, sizeof(*form));
	form->format = column->time_format;
	form->local = (column->type == TIMESTAMPOID);
	form->zone = column->time_zone;
	form->fixed = pg_get_timezone_offset(column->time_zone, &offset);
	form->offset = offset * USECS_PER_SEC;
	form->unit = 1;
	if (column->typmod >= 0)
	{
		for (int i = column->typmod; i < MAX_TIMESTAMP_PRECISION; i++)
			form->unit *= 10;
	}
}

/* One digit, or a number beyond 9 */
static inline unsigned
digit(char c)
{
	return (unsigned char) (c - '0');
}

/* Two digits, or a number beyond 99 */
static inline int
two_digits(const char *p)
{
	unsigned	tens = digit(p[0]);
	unsigned	ones = digit(p[1]);

	return (tens > 9 || ones > 9) ? 100 : (int) (tens * 10 + ones);
}

/* Four digits, or -1 */
static inline int
four_digits(const char *p)
{
	int			high = two_digits(p);
	int			low = two_digits(p + 2);

	return (high > 99 || low > 99) ? -1 : high * 100 + low;
}

static inline bool
is_date(const Clock *clock)
{
	return clock->year >= FIRST_YEAR &&
		clock->month >= 1 && clock->month <= MONTHS_PER_YEAR &&
		clock->day >= 1 &&
		clock->day <= day_tab[isleap(clock->year)][clock->month - 1];
}

static inline bool
read_date(const char *p, Clock *clock)
{
	clock->year = four_digits(p);
	clock->month = two_digits(p + 5);
	clock->day = two_digits(p + 8);
	return p[4] == '-' && p[7] == '-' && is_date(clock);
}

static inline bool
read_time(const char *p, Clock *clock)
{
	clock->hour = two_digits(p);
	clock->minute = two_digits(p + 3);
	clock->second = two_digits(p + 6);
	clock->usec = 0;
	return p[2] == ':' && p[5] == ':' &&
		clock->hour < HOURS_PER_DAY &&
		clock->minute < MINS_PER_HOUR && clock->second < SECS_PER_MINUTE;
}

/* What is behind the point: one to max digits; what they mean if there are max */
static bool
read_fraction(const char **p, const char *end, int max, int *value)
{
	int			ndigits = 0;

	*value = 0;
	while (*p < end && digit(**p) <= 9)
	{
		if (++ndigits > max)
			return false;
		*value = *value * 10 + (int) digit(*(*p)++);
	}
	if (ndigits == 0)
		return false;
	while (ndigits++ < max)
		*value *= 10;
	return true;
}

/* +HH, +HHMM or +HH:MM, as microseconds to the east */
static bool
read_offset(const char *p, size_t len, int64 *offset)
{
	int			hours;
	int			minutes = 0;

	if ((len != 3 && len != 5 && len != 6) || (*p != '+' && *p != '-'))
		return false;
	hours = two_digits(p + 1);
	if (len == 5)
		minutes = two_digits(p + 3);
	else if (len == 6)
		minutes = (p[3] == ':') ? two_digits(p + 4) : MINS_PER_HOUR;
	if (hours > MAX_TZDISP_HOUR || minutes >= MINS_PER_HOUR)
		return false;

	*offset = (hours * MINS_PER_HOUR + minutes) * USECS_PER_MINUTE;
	if (*p == '-')
		*offset = -*offset;
	return true;
}

static inline Timestamp
clock_to_timestamp(const Clock *clock)
{
	int64		days = date2j(clock->year, clock->month, clock->day) - POSTGRES_EPOCH_JDATE;

	return days * USECS_PER_DAY + clock->hour * USECS_PER_HOUR +
		clock->minute * USECS_PER_MINUTE + clock->second * USECS_PER_SEC + clock->usec;
}

/* The column's zone, to the east at this local time */
static int64
zone_offset(const ScTimeForm *form, const Clock *clock)
{
	struct pg_tm tm = {0};

	if (form->fixed)
		return form->offset;

	tm.tm_year = clock->year;
	tm.tm_mon = clock->month;
	tm.tm_mday = clock->day;
	tm.tm_hour = clock->hour;
	tm.tm_min = clock->minute;
	tm.tm_sec = clock->second;
	return -DetermineTimeZoneOffset(&tm, form->zone) * USECS_PER_SEC;
}

static bool
read_iso8601(const ScTimeForm *form, const char *text, size_t len, Timestamp *ts)
{
	const char *end = text + len;
	const char *p = text + DATE_LEN + 1 + TIME_LEN;
	Clock		clock;
	int64		offset = 0;

	if (p > end || (text[DATE_LEN] != 'T' && text[DATE_LEN] != ' ') ||
		!read_date(text, &clock) || !read_time(text + DATE_LEN + 1, &clock))
		return false;
	if (p < end && *p == '.')
	{
		p++;
		if (!read_fraction(&p, end, MAX_TIMESTAMP_PRECISION, &clock.usec))
			return false;
	}

	*ts = clock_to_timestamp(&clock);
	if (p == end)
	{
		if (!form->local)
			*ts -= zone_offset(form, &clock);
		return true;
	}
	if (*p != 'Z' || p + 1 != end)
	{
		if (*p == ' ')
			p++;
		if (!read_offset(p, end - p, &offset))
			return false;
	}

	/* a local time is what is written, wherever that was */
	if (!form->local)
		*ts -= offset;
	return true;
}

/* Which of these names of three letters, from 1; 0: none */
static int
name_number(const char *names, const char *name)
{
	for (int i = 0; names[i * 3] != '\0'; i++)
	{
		if (memcmp(names + i * 3, name, 3) == 0)
			return i + 1;
	}
	return 0;
}

static bool
read_twitter(const ScTimeForm *form, const char *text, size_t len, Timestamp *ts)
{
	Clock		clock;
	int64		offset;

	if (len != TWITTER_LEN || text[3] != ' ' || text[7] != ' ' || text[10] != ' ' ||
		text[19] != ' ' || text[25] != ' ')
		return false;
	if (name_number("MonTueWedThuFriSatSun", text) == 0)
		return false;
	clock.month = name_number("JanFebMarAprMayJunJulAugSepOctNovDec", text + 4);
	clock.day = two_digits(text + 8);
	clock.year = four_digits(text + 26);
	if (!is_date(&clock) || !read_time(text + 11, &clock) ||
		!read_offset(text + 20, 5, &offset))
		return false;

	*ts = clock_to_timestamp(&clock);
	if (!form->local)
		*ts -= offset;
	return true;
}

/* usecs_per_unit: of what the number counts */
static bool
read_epoch(const ScTimeForm *form, const char *text, size_t len, Timestamp *ts)
{
	bool		seconds = (form->format == SC_TIME_EPOCH_S);
	int64		usecs_per_unit = seconds ? USECS_PER_SEC : 1000;
	const char *end = text + len;
	const char *p = text;
	const char *digits;
	int64		whole = 0;
	int			fraction = 0;
	bool		negative = false;

	if (p < end && *p == '-')
	{
		negative = true;
		p++;
	}
	for (digits = p; p < end && digit(*p) <= 9 && p - digits < 15; p++)
		whole = whole * 10 + digit(*p);
	if (p == digits || whole > NEAR_SECS * USECS_PER_SEC / usecs_per_unit)
		return false;
	if (p < end && *p == '.')
	{
		p++;
		if (!read_fraction(&p, end, seconds ? 6 : 3, &fraction))
			return false;
	}
	if (p != end)
		return false;

	*ts = whole * usecs_per_unit + fraction;
	*ts = (negative ? -*ts : *ts) - EPOCH_DIFF_USECS;
	if (form->local)
		*ts = form->fixed ? *ts + form->offset : sc_moment_to_local(*ts, form->zone);
	return true;
}

bool
sc_moment_quick_time(const ScTimeForm *form, const char *text, size_t len, Timestamp *ts)
{
	bool		sure = false;

	switch (form->format)
	{
		case SC_TIME_ISO8601:
			/* in truth, whatever PostgreSQL takes */
			sure = read_iso8601(form, text, len, ts) || read_twitter(form, text, len, ts);
			break;
		case SC_TIME_EPOCH_S:
		case SC_TIME_EPOCH_MS:
			sure = read_epoch(form, text, len, ts);
			break;
		case SC_TIME_TWITTER:
			sure = read_twitter(form, text, len, ts);
			break;
	}
	return sure && (form->unit == 1 || *ts % form->unit == 0);
}

bool
sc_moment_quick_date(const char *text, size_t len, DateADT *date)
{
	Clock		clock;

	if (len != DATE_LEN || !read_date(text, &clock))
		return false;
	*date = date2j(clock.year, clock.month, clock.day) - POSTGRES_EPOCH_JDATE;
	return true;
}
