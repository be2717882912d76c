/*-------------------------------------------------------------------------
 *
 * sqlapi_step.c
 *		tumble(), hop() and cumulate(): windows made of steps.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "sqlapi_window_call.h"

PG_FUNCTION_INFO_V1(streamcount_tumble);
PG_FUNCTION_INFO_V1(streamcount_hop);
PG_FUNCTION_INFO_V1(streamcount_cumulate);

typedef struct StepCall
{
	ScWindowCall call;
	bool		valid;
	Interval	size_arg;
	Interval	step_arg;
	Interval	shift_arg;
	ScGranularity size;
	ScGranularity step;
	ScWindow	size_window;
	ScWindow	step_window;
} StepCall;

static void
put_bounds(Tuplestorestate *rows, TupleDesc desc, TimestampTz start, TimestampTz end)
{
	Datum		values[2];
	bool		nulls[2] = {false, false};

	values[0] = TimestampTzGetDatum(start);
	values[1] = TimestampTzGetDatum(end);
	tuplestore_putvalues(rows, desc, values, nulls);
}

static void
make_granularity(ScGranularity *granularity, const char *what,
				 const Interval *size, const Interval *shift)
{
	const char *wrong = sc_window_compile(granularity, size);

	if (wrong == NULL && shift != NULL)
		wrong = sc_window_shift(granularity, shift);
	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s or shift of a window", what),
				 errdetail("%s", wrong),
				 errhint("A size is an interval such as '15 minutes', '1 day' or '3 months'.")));
}

static bool
is_multiple(const ScGranularity *size, const ScGranularity *step)
{
	if (size->months != 0 && step->months != 0)
		return size->months % step->months == 0;
	return size->months == 0 && step->months == 0 && size->usecs % step->usecs == 0;
}

/* Do steps fit into the window, whatever the length of its months? */
static bool
fills(const ScGranularity *size, const ScGranularity *step)
{
	return is_multiple(size, step) ||
		(size->months != 0 && step->months == 0 && USECS_PER_DAY % step->usecs == 0);
}

/* The steps of cumulate() are counted from the beginning of its window. */
static void
align_steps(ScGranularity *step, const ScGranularity *size)
{
	step->first_month = size->first_month;
	step->origin = size->origin;
	if (step->months == 0)
		step->origin -= step->usecs * sc_window_floor(step->origin, step->usecs);
}

/*
 * The arguments after the time are size, then step where the function has
 * one, then shift and time zone.
 */
static StepCall *
get_steps(FunctionCallInfo fcinfo, const char *step_name, bool cumulate)
{
	StepCall   *steps = (StepCall *) sc_sqlapi_get_call(fcinfo, sizeof(StepCall));
	int			n = PG_NARGS();
	Interval   *size = PG_GETARG_INTERVAL_P(1);
	Interval   *step = PG_GETARG_INTERVAL_P(n - 3);
	Interval   *shift = PG_GETARG_INTERVAL_P(n - 2);
	bool		changed = sc_sqlapi_keep_zone(fcinfo, &steps->call, PG_GETARG_TEXT_PP(n - 1));

	if (unlikely(!steps->valid ||
				 memcmp(size, &steps->size_arg, sizeof(Interval)) != 0 ||
				 memcmp(step, &steps->step_arg, sizeof(Interval)) != 0 ||
				 memcmp(shift, &steps->shift_arg, sizeof(Interval)) != 0))
	{
		steps->valid = false;
		make_granularity(&steps->size, "size", size, shift);
		make_granularity(&steps->step, step_name, step, cumulate ? NULL : shift);
		if (cumulate ? !fills(&steps->size, &steps->step)
			: !is_multiple(&steps->size, &steps->step))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the size of a window must be a whole multiple of its %s",
							step_name)));
		if (cumulate)
			align_steps(&steps->step, &steps->size);
		steps->size_arg = *size;
		steps->step_arg = *step;
		steps->shift_arg = *shift;
		steps->valid = changed = true;
	}
	if (changed)
	{
		memset(&steps->size_window, 0, sizeof(ScWindow));
		memset(&steps->step_window, 0, sizeof(ScWindow));
	}
	return steps;
}

Datum
streamcount_tumble(PG_FUNCTION_ARGS)
{
	StepCall   *steps = get_steps(fcinfo, "size", false);
	Tuplestorestate *rows = sc_sqlapi_start_rows(fcinfo);
	TimestampTz time = PG_GETARG_TIMESTAMPTZ(0);

	if (TIMESTAMP_NOT_FINITE(time))
		return (Datum) 0;
	sc_window_find(&steps->step, &steps->call.zone, time, &steps->step_window);
	put_bounds(rows, steps->call.desc, steps->step_window.start, steps->step_window.end);
	return (Datum) 0;
}

/*
 * A window is so many slides in a row, hence every time is in so many
 * windows, even where the clocks are changed.
 */
Datum
streamcount_hop(PG_FUNCTION_ARGS)
{
	StepCall   *steps = get_steps(fcinfo, "slide", false);
	Tuplestorestate *rows = sc_sqlapi_start_rows(fcinfo);
	TimestampTz time = PG_GETARG_TIMESTAMPTZ(0);
	ScZone	   *zone = &steps->call.zone;
	ScWindow	first;
	ScWindow	last;
	int64		n;

	if (TIMESTAMP_NOT_FINITE(time))
		return (Datum) 0;
	sc_window_find(&steps->step, zone, time, &steps->step_window);
	first = last = steps->step_window;
	n = steps->step.months != 0 ? steps->size.months / steps->step.months
		: steps->size.usecs / steps->step.usecs;
	while (--n > 0 && first.start != DT_NOBEGIN)
	{
		CHECK_FOR_INTERRUPTS();
		sc_window_find(&steps->step, zone, first.start - 1, &first);
	}
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		put_bounds(rows, steps->call.desc, first.start, last.end);
		if (first.start == steps->step_window.start)
			break;
		sc_window_find(&steps->step, zone, first.end, &first);
		if (last.end != DT_NOEND)
			sc_window_find(&steps->step, zone, last.end, &last);
	}
	return (Datum) 0;
}

/* From the window's beginning to the end of this step and of each later one. */
Datum
streamcount_cumulate(PG_FUNCTION_ARGS)
{
	StepCall   *steps = get_steps(fcinfo, "step", true);
	Tuplestorestate *rows = sc_sqlapi_start_rows(fcinfo);
	TimestampTz time = PG_GETARG_TIMESTAMPTZ(0);
	ScZone	   *zone = &steps->call.zone;
	ScWindow	step;

	if (TIMESTAMP_NOT_FINITE(time))
		return (Datum) 0;
	sc_window_find(&steps->size, zone, time, &steps->size_window);
	sc_window_find(&steps->step, zone, time, &steps->step_window);
	step = steps->step_window;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		put_bounds(rows, steps->call.desc, steps->size_window.start, step.end);
		if (step.end >= steps->size_window.end)
			break;
		sc_window_find(&steps->step, zone, step.end, &step);
	}
	return (Datum) 0;
}
