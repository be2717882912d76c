/*-------------------------------------------------------------------------
 *
 * sqlapi_window.c
 *		windows(), tumble(), hop() and cumulate().
 *
 * They are called once for every row of a query, with arguments of which
 * mostly the time alone differs.  So what follows from the others is kept
 * with the function call, as is the window found last; and the rows go into
 * a tuplestore, for the executor would put them into one anyway, after
 * looking up their type for every call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "window.h"

PG_FUNCTION_INFO_V1(streamcount_windows);
PG_FUNCTION_INFO_V1(streamcount_tumble);
PG_FUNCTION_INFO_V1(streamcount_hop);
PG_FUNCTION_INFO_V1(streamcount_cumulate);

/* What each of the functions keeps from call to call. */
typedef struct Call
{
	TupleDesc	desc;
	bytea	   *zone_name;		/* the argument that zone was made of; or NULL */
	ScZone		zone;
} Call;

/* One granularity of windows(), with its row ready for use. */
typedef struct Grid
{
	ScGranularity granularity;
	ScWindow	window;
	text	   *name;
	char		label[VARHDRSZ + SC_LABEL_LEN];
} Grid;

typedef struct WindowsCall
{
	Call		call;
	MemoryContext cx;			/* holds all below */
	bytea	   *list;			/* the argument that grids were made of; or NULL */
	int			ngrids;
	Grid	   *grids;
} WindowsCall;

/* tumble(), hop() and cumulate(): windows made of steps. */
typedef struct StepCall
{
	Call		call;
	bool		valid;
	Interval	size_arg;
	Interval	step_arg;
	Interval	shift_arg;
	ScGranularity size;
	ScGranularity step;
	ScWindow	size_window;
	ScWindow	step_window;
} StepCall;


/* ----------------------------------------------------------------
 * What is kept
 * ----------------------------------------------------------------
 */

static Call *
get_call(FunctionCallInfo fcinfo, Size size)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	MemoryContext old;
	TupleDesc	desc;
	Call	   *call = flinfo->fn_extra;

	if (call != NULL)
		return call;
	old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	call = palloc0(size);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	call->desc = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(old);
	flinfo->fn_extra = call;
	return call;
}

static bool
same_bytes(const void *kept, const void *given)
{
	return kept != NULL && VARSIZE_ANY(kept) == VARSIZE_ANY(given) &&
		memcmp(kept, given, VARSIZE_ANY(given)) == 0;
}

static bytea *
keep_bytes(const void *given, MemoryContext cx)
{
	bytea	   *kept = MemoryContextAlloc(cx, VARSIZE_ANY(given));

	memcpy(kept, given, VARSIZE_ANY(given));
	return kept;
}

/* True if the time zone is another than before. */
static bool
keep_zone(FunctionCallInfo fcinfo, Call *call, text *name)
{
	char	   *zone_name;
	pg_tz	   *tz;

	if (likely(same_bytes(call->zone_name, name)))
		return false;
	if (call->zone_name != NULL)
		pfree(call->zone_name);
	call->zone_name = NULL;
	zone_name = text_to_cstring(name);
	tz = pg_tzset(zone_name);
	/* Zones with leap seconds would put them between our windows. */
	if (tz == NULL || !pg_tz_acceptable(tz))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", zone_name),
				 errhint("Give a name that is in pg_timezone_names, such as 'UTC' or 'America/New_York'.")));
	sc_window_set_zone(&call->zone, tz);
	call->zone_name = keep_bytes(name, fcinfo->flinfo->fn_mcxt);
	return true;
}

/* ----------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------
 */

static Tuplestorestate *
start_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	rsinfo->returnMode = SFRM_Materialize;
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->setResult =
		tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
							  false, work_mem);
	MemoryContextSwitchTo(old);

	/*
	 * setDesc stays NULL: the type is declared with the function, and the
	 * executor would compare the two for every call.
	 */
	return rsinfo->setResult;
}

static void
put_bounds(Tuplestorestate *rows, TupleDesc desc, TimestampTz start, TimestampTz end)
{
	Datum		values[2];
	bool		nulls[2] = {false, false};

	values[0] = TimestampTzGetDatum(start);
	values[1] = TimestampTzGetDatum(end);
	tuplestore_putvalues(rows, desc, values, nulls);
}

/* ----------------------------------------------------------------
 * windows()
 * ----------------------------------------------------------------
 */

/*
 * Add a granularity, unless it is there already: listed twice, it would
 * count everything twice.
 */
static void
add_grid(WindowsCall *windows, const char *text)
{
	Grid	   *grid = &windows->grids[windows->ngrids];
	const char *wrong = sc_window_parse(&grid->granularity, text);
	int			i;

	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid granularity: \"%s\"", text),
				 errdetail("%s", wrong),
				 errhint("Granularities are second, minute, hour, day, week, month, quarter, year, ALL, and intervals such as '15 minutes'.")));
	for (i = 0; i < windows->ngrids; i++)
	{
		if (strcmp(windows->grids[i].granularity.name, grid->granularity.name) == 0)
			return;
	}
	grid->name = cstring_to_text(grid->granularity.name);
	windows->ngrids++;
}

static void
keep_granularities(FunctionCallInfo fcinfo, WindowsCall *windows, ArrayType *list)
{
	MemoryContext old;
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	int			i;

	if (likely(same_bytes(windows->list, list)))
		return;
	windows->list = NULL;
	windows->ngrids = 0;
	if (windows->cx == NULL)
		windows->cx = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt,
											"streamcount windows",
											ALLOCSET_SMALL_SIZES);
	MemoryContextReset(windows->cx);
	old = MemoryContextSwitchTo(windows->cx);
	deconstruct_array(list, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	windows->grids = palloc0(sizeof(Grid) * Max(n, 1));
	for (i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a granularity cannot be null")));
		add_grid(windows, TextDatumGetCString(elements[i]));
	}
	windows->list = keep_bytes(list, windows->cx);
	MemoryContextSwitchTo(old);
}

static void
put_window(Tuplestorestate *rows, WindowsCall *windows, Grid *grid, TimestampTz time)
{
	Call	   *call = &windows->call;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (sc_window_find(&grid->granularity, &call->zone, time, &grid->window))
	{
		int			len = sc_window_label(&grid->granularity, &call->zone,
										  &grid->window, grid->label + VARHDRSZ);

		SET_VARSIZE(grid->label, VARHDRSZ + len);
	}
	values[0] = PointerGetDatum(grid->name);
	values[1] = PointerGetDatum(grid->label);
	values[2] = TimestampTzGetDatum(grid->window.start);
	values[3] = TimestampTzGetDatum(grid->window.end);
	tuplestore_putvalues(rows, call->desc, values, nulls);
}

/*
 * A row for each granularity.  Where the time is not known, or is infinite,
 * or is not known in the time zone, only ALL has it.
 */
Datum
streamcount_windows(PG_FUNCTION_ARGS)
{
	WindowsCall *windows = (WindowsCall *) get_call(fcinfo, sizeof(WindowsCall));
	Tuplestorestate *rows = start_rows(fcinfo);
	TimestampTz time = 0;
	bool		known = !PG_ARGISNULL(0) && !PG_ARGISNULL(2);
	bool		moved = false;
	int			i;

	if (PG_ARGISNULL(1))
		return (Datum) 0;
	keep_granularities(fcinfo, windows, PG_GETARG_ARRAYTYPE_P(1));
	if (!PG_ARGISNULL(2))
		moved = keep_zone(fcinfo, &windows->call, PG_GETARG_TEXT_PP(2));
	if (known)
	{
		time = PG_GETARG_TIMESTAMPTZ(0);
		known = !TIMESTAMP_NOT_FINITE(time);
	}

	for (i = 0; i < windows->ngrids; i++)
	{
		Grid	   *grid = &windows->grids[i];

		if (moved)
			memset(&grid->window, 0, sizeof(ScWindow));
		if (known || grid->granularity.unit == SC_UNIT_ALL)
			put_window(rows, windows, grid, time);
	}
	return (Datum) 0;
}

/* ----------------------------------------------------------------
 * tumble(), hop() and cumulate()
 * ----------------------------------------------------------------
 */

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
	StepCall   *steps = (StepCall *) get_call(fcinfo, sizeof(StepCall));
	int			n = PG_NARGS();
	Interval   *size = PG_GETARG_INTERVAL_P(1);
	Interval   *step = PG_GETARG_INTERVAL_P(n - 3);
	Interval   *shift = PG_GETARG_INTERVAL_P(n - 2);
	bool		changed = keep_zone(fcinfo, &steps->call, PG_GETARG_TEXT_PP(n - 1));

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
	Tuplestorestate *rows = start_rows(fcinfo);
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
	Tuplestorestate *rows = start_rows(fcinfo);
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
	Tuplestorestate *rows = start_rows(fcinfo);
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
