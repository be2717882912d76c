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
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "choose.h"
#include "stream.h"

PG_FUNCTION_INFO_V1(streamcount_rollup_way);

static List *
settings_list(ArrayType *array)
{
	Datum	   *elements;
	int			n;
	List	   *list = NIL;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(elements[i]));
	return list;
}

/*
 * A query that cannot be kept any more, because something below it was
 * changed, must not make the view unreadable: *why is what is wrong then.
 */
static bool
is_tallied(Oid query, Oid stream, List *settings, const char **why)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool tallied = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		tallied = sc_choose_plan(sc_stream_load(stream, false, caller), query, settings, why) != NULL;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (geterrcode() == ERRCODE_QUERY_CANCELED)
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

/* (way, why) */
Datum
streamcount_rollup_way(PG_FUNCTION_ARGS)
{
	const char *why = NULL;
	bool		tallied = is_tallied(PG_GETARG_OID(0), PG_GETARG_OID(1),
									 settings_list(PG_GETARG_ARRAYTYPE_P(2)), &why);
	TupleDesc	desc;
	Datum		values[2];
	bool		isnull[2] = {false, tallied};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(tallied ? "tally" : "executor");
	values[1] = tallied ? (Datum) 0 : CStringGetTextDatum(why);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}
