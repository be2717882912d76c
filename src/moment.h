/*-------------------------------------------------------------------------
 *
 * moment.h
 *		Times as text and numbers, read alike in every session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_MOMENT_H
#define SC_MOMENT_H

#include "streamcount.h"
#include "datatype/timestamp.h"

/* What PostgreSQL's input functions read a time by. */
typedef struct ScTimeSettings
{
	int			date_style;
	int			date_order;
	int			interval_style;
	pg_tz	   *zone;
} ScTimeSettings;

/*
 * Between these two, times are read as ISO, MDY, in the zone given.  The
 * caller restores whatever happens.
 */
extern void sc_moment_fix(pg_tz *zone, ScTimeSettings *saved);
extern void sc_moment_restore(const ScTimeSettings *saved);

/* ERROR where the text means another time at another moment: now, today, … */
extern void sc_moment_refuse_clock(const char *text);

/* A timestamptz of one of the numeric formats, from the number's text. */
extern TimestampTz sc_moment_from_epoch(const char *text, ScTimeFormat format);

/* The local time of a zone. */
extern Timestamp sc_moment_to_local(TimestampTz ts, pg_tz *zone);

/* ERROR unless the text has the form that Twitter's API writes. */
extern void sc_moment_check_twitter(const char *text);

/* Kafka's own times; false or an ERROR where PostgreSQL has none such. */
extern bool sc_moment_try_kafka(int64 timestamp_ms, TimestampTz *ts);
extern TimestampTz sc_moment_from_kafka(int64 timestamp_ms);
extern int64 sc_moment_to_kafka(TimestampTz ts);

/* A timestamptz in UTC where it has no offset, to milliseconds since 1970. */
extern int64 sc_moment_parse_ms(const char *text);

#endif							/* SC_MOMENT_H */
