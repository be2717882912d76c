/*-------------------------------------------------------------------------
 *
 * sqlapi_window.c
 *		windows(): the windows of several granularities that a time is in.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "sqlapi_window_call.h"

PG_FUNCTION_INFO_V1(streamcount_windows);

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
	ScWindowCall call;
	MemoryContext cx;			/* holds all below */
	bytea	   *list;			/* the argument that grids were made of; or NULL */
	int			ngrids;
	Grid	   *grids;
} WindowsCall;

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

	if (likely(sc_sqlapi_same_bytes(windows->list, list)))
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
	windows->list = sc_sqlapi_keep_bytes(list, windows->cx);
	MemoryContextSwitchTo(old);
}

static void
put_window(Tuplestorestate *rows, WindowsCall *windows, Grid *grid, TimestampTz time)
{
	ScWindowCall *call = &windows->call;
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
	WindowsCall *windows = (WindowsCall *) sc_sqlapi_get_call(fcinfo, sizeof(WindowsCall));
	Tuplestorestate *rows = sc_sqlapi_start_rows(fcinfo);
	TimestampTz time = 0;
	bool		known = !PG_ARGISNULL(0) && !PG_ARGISNULL(2);
	bool		moved = false;
	int			i;

	if (PG_ARGISNULL(1))
		return (Datum) 0;
	keep_granularities(fcinfo, windows, PG_GETARG_ARRAYTYPE_P(1));
	if (!PG_ARGISNULL(2))
		moved = sc_sqlapi_keep_zone(fcinfo, &windows->call, PG_GETARG_TEXT_PP(2));
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
