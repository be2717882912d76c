/*-------------------------------------------------------------------------
 *
 * sqlapi_way.c
 *		Which way a rollup takes, as the view streamcount.rollups shows it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "catalog.h"
#include "choose.h"
#include "sqlapi.h"
#include "stream.h"

PG_FUNCTION_INFO_V1(streamcount_rollup_way);

/* What says nothing of the query, but of this session or the server. */
static bool
is_worlds_fault(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return false;
	}
}

/*
 * A query that cannot be kept any more, because something below it was
 * changed, must not make the view unreadable: *why is what is wrong then.
 */
static bool
is_tallied(const ScRollup *rollup, const char **why)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool tallied = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		tallied = sc_choose_plan(sc_stream_load(rollup->stream, false, caller), rollup->query,
								 rollup->settings, why) != NULL;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (is_worlds_fault(geterrcode()))
			PG_RE_THROW();
		*why = CopyErrorData()->message;
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return tallied;
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
