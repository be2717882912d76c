/*-------------------------------------------------------------------------
 *
 * sqlapi_way.c
 *		Which way a rollup takes, as the view streamcount.rollups shows it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "catalog.h"
#include "choose.h"
#include "guard.h"
#include "sqlapi.h"
#include "stream.h"

PG_FUNCTION_INFO_V1(streamcount_rollup_way);

typedef struct Choice
{
	const ScRollup *rollup;
	const char *why;
	bool		tallied;
} Choice;

static void
choose(void *arg)
{
	Choice	   *choice = arg;
	const ScRollup *rollup = choice->rollup;

	choice->tallied = sc_choose_plan(sc_stream_load(rollup->stream, false, CurrentMemoryContext),
									 rollup->query, rollup->settings, &choice->why) != NULL;
}

/*
 * A query that cannot be kept any more, because something below it was
 * changed, must not make the view unreadable: *why is what is wrong then.
 */
static bool
is_tallied(const ScRollup *rollup, const char **why)
{
	Choice		choice = {.rollup = rollup};
	ErrorData  *edata = sc_guard_run(choose, &choice, sc_guard_is_its_fault);

	*why = edata ? edata->message : choice.why;
	return choice.tallied;
}

/* (way, why); NULLs of what is no rollup, or not for the caller to see. */
Datum
streamcount_rollup_way(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	ScRollup   *rollup = sc_sqlapi_may_see(relid) ?
		sc_catalog_rollup(relid, CurrentMemoryContext) : NULL;
	const char *why = NULL;
	bool		tallied = rollup != NULL && is_tallied(rollup, &why);
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		isnull[2] = {rollup == NULL, why == NULL};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (rollup != NULL)
		values[0] = CStringGetTextDatum(tallied ? "tally" : "executor");
	if (why != NULL)
		values[1] = CStringGetTextDatum(why);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}
