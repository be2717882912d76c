/*-------------------------------------------------------------------------
 *
 * moment.c
 *		Times as text and numbers, read alike in every session.
 *
 * A time in a message must mean the same in the worker that counts it, in a
 * SELECT, and tomorrow.  PostgreSQL's input functions read it by DateStyle,
 * IntervalStyle and TimeZone, and some words by the clock: the first are
 * fixed here, the last are refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "moment.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define EPOCH_DIFF_DAYS		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define EPOCH_DIFF_USECS	(EPOCH_DIFF_DAYS * USECS_PER_DAY)

/* Times of Kafka that are surely beyond PostgreSQL's, and do not overflow. */
#define MAX_TIMESTAMP_MS	(PG_INT64_MAX / 2000)

void
sc_moment_fix(pg_tz *zone, ScTimeSettings *saved)
{
	saved->date_style = DateStyle;
	saved->date_order = DateOrder;
	saved->interval_style = IntervalStyle;
	saved->zone = session_timezone;

	DateStyle = USE_ISO_DATES;
	DateOrder = DATEORDER_MDY;
	IntervalStyle = INTSTYLE_POSTGRES;
	session_timezone = zone;
}

void
sc_moment_restore(const ScTimeSettings *saved)
{
	DateStyle = saved->date_style;
	DateOrder = saved->date_order;
	IntervalStyle = saved->interval_style;
	session_timezone = saved->zone;
}

void
sc_moment_refuse_clock(const char *text)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	const char *p = text;

	while (*p)
	{
		size_t		len = 0;

		while (isalpha((unsigned char) p[len]))
			len++;
		for (int i = 0; i < (int) lengthof(words); i++)
		{
			if (len == strlen(words[i]) && pg_strncasecmp(p, words[i], len) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
						 errmsg("time \"%s\" depends on when it is read", text),
						 errdetail("A stream must read the same at any time.")));
		}
		p += (len > 0) ? len : 1;
	}
}

static void
epoch_out_of_range(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range: \"%s\"", text)));
}

/*
 * By numeric, so that no digit is lost: a double holds today's microseconds
 * only just.
 */
TimestampTz
sc_moment_from_epoch(const char *text, ScTimeFormat format)
{
	Datum		number;
	Datum		factor;
	Datum		limit;
	int64		usecs;

	number = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	if (numeric_is_nan(DatumGetNumeric(number)) ||
		numeric_is_inf(DatumGetNumeric(number)))
		epoch_out_of_range(text);

	factor = NumericGetDatum(int64_to_numeric(format == SC_TIME_EPOCH_S ?
											  USECS_PER_SEC : 1000));
	number = DirectFunctionCall2(numeric_mul, number, factor);
	number = DirectFunctionCall2(numeric_round, number, Int32GetDatum(0));

	/* Since 1970, the last times that there are would not fit. */
	number = DirectFunctionCall2(numeric_sub, number,
								 NumericGetDatum(int64_to_numeric(EPOCH_DIFF_USECS)));
	limit = NumericGetDatum(int64_to_numeric(PG_INT64_MAX));
	if (DatumGetBool(DirectFunctionCall2(numeric_gt,
										 DirectFunctionCall1(numeric_abs, number),
										 limit)))
		epoch_out_of_range(text);

	usecs = DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
	if (!IS_VALID_TIMESTAMP(usecs))
		epoch_out_of_range(text);
	return usecs;
}

Timestamp
sc_moment_to_local(TimestampTz ts, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	Timestamp	local;

	if (timestamp2tm(ts, &offset, &tm, &fsec, NULL, zone) != 0 ||
		tm2timestamp(&tm, fsec, NULL, &local) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return local;
}

/* In the pattern, A stands for a letter, 9 for a digit, + for a sign. */
void
sc_moment_check_twitter(const char *text)
{
	const char *pattern = "AAA AAA 99 99:99:99 +9999 9999";
	size_t		i;

	for (i = 0; pattern[i] != '\0'; i++)
	{
		unsigned char c = (unsigned char) text[i];
		bool		fits;

		switch (pattern[i])
		{
			case 'A':
				fits = isalpha(c) != 0;
				break;
			case '9':
				fits = isdigit(c) != 0;
				break;
			case '+':
				fits = (c == '+' || c == '-');
				break;
			default:
				fits = (c == (unsigned char) pattern[i]);
		}
		if (!fits)
			break;
	}

	if (pattern[i] != '\0' || text[i] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("invalid input syntax for time format \"twitter\": \"%s\"", text),
				 errdetail("Such a time looks like \"Wed Aug 27 13:08:45 +0000 2008\".")));
}

bool
sc_moment_try_kafka(int64 timestamp_ms, TimestampTz *ts)
{
	if (timestamp_ms > MAX_TIMESTAMP_MS || timestamp_ms < -MAX_TIMESTAMP_MS)
		return false;
	*ts = timestamp_ms * 1000 - EPOCH_DIFF_USECS;
	return IS_VALID_TIMESTAMP(*ts);
}

TimestampTz
sc_moment_from_kafka(int64 timestamp_ms)
{
	TimestampTz ts;

	if (!sc_moment_try_kafka(timestamp_ms, &ts))
		epoch_out_of_range(psprintf(INT64_FORMAT, timestamp_ms));
	return ts;
}

int64
sc_moment_to_kafka(TimestampTz ts)
{
	return (ts + EPOCH_DIFF_USECS) / 1000;
}

int64
sc_moment_parse_ms(const char *text)
{
	ScTimeSettings saved;
	volatile TimestampTz ts = 0;
	int64		usecs;

	sc_moment_refuse_clock(text);

	sc_moment_fix(pg_tzset("UTC"), &saved);
	PG_TRY();
	{
		ts = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
													 CStringGetDatum(text),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	}
	PG_FINALLY();
	{
		sc_moment_restore(&saved);
	}
	PG_END_TRY();

	if (TIMESTAMP_NOT_FINITE(ts) || ts > PG_INT64_MAX - EPOCH_DIFF_USECS)
		epoch_out_of_range(text);

	/* Kafka counts in milliseconds: the first one that is not before it. */
	usecs = ts + EPOCH_DIFF_USECS;
	return usecs / 1000 + (usecs > 0 && usecs % 1000 != 0 ? 1 : 0);
}
