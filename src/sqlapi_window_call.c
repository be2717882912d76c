/*-------------------------------------------------------------------------
 *
 * sqlapi_window_call.c
 *		What the calls of windows(), tumble(), hop() and cumulate() share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "sqlapi_window_call.h"

ScWindowCall *
sc_sqlapi_get_call(FunctionCallInfo fcinfo, Size size)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	MemoryContext old;
	TupleDesc	desc;
	ScWindowCall *call = flinfo->fn_extra;

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

bytea *
sc_sqlapi_keep_bytes(const void *given, MemoryContext cx)
{
	bytea	   *kept = MemoryContextAlloc(cx, VARSIZE_ANY(given));

	memcpy(kept, given, VARSIZE_ANY(given));
	return kept;
}

bool
sc_sqlapi_keep_zone(FunctionCallInfo fcinfo, ScWindowCall *call, text *name)
{
	char	   *zone_name;
	pg_tz	   *tz;

	if (likely(sc_sqlapi_same_bytes(call->zone_name, name)))
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
	call->zone_name = sc_sqlapi_keep_bytes(name, fcinfo->flinfo->fn_mcxt);
	return true;
}

Tuplestorestate *
sc_sqlapi_start_rows(FunctionCallInfo fcinfo)
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
