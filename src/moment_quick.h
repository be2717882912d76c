/*-------------------------------------------------------------------------
 *
 * moment_quick.h
 *		Times in the forms that most messages have, read without PostgreSQL's
 *		input functions.
 *
 * False is not "wrong", but "not sure": then those functions decide.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_MOMENT_QUICK_H
#define SC_MOMENT_QUICK_H

#include "streamcount.h"
#include "datatype/timestamp.h"
#include "utils/date.h"

/* How a column of type timestamp or timestamptz is read. */
typedef struct ScTimeForm
{
	ScTimeFormat format;
	bool		local;			/* without time zone */
	pg_tz	   *zone;
	bool		fixed;			/* the zone has one offset at all times */
	int64		offset;			/* that offset, in microseconds to the east */
	int64		unit;			/* the typmod's smallest step, in microseconds */
} ScTimeForm;

extern void sc_moment_quick_form(ScTimeForm *form, const ScColumn *column);
extern bool sc_moment_quick_time(const ScTimeForm *form, const char *text, size_t len,
								 Timestamp *ts);
extern bool sc_moment_quick_date(const char *text, size_t len, DateADT *date);

#endif							/* SC_MOMENT_QUICK_H */
