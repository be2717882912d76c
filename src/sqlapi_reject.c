/*-------------------------------------------------------------------------
 *
 * sqlapi_reject.c
 *		SQL functions that retry and discard rejects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "identity.h"
#include "ledger.h"
#include "retry.h"
#include "sqlapi.h"
#include "stream.h"

PG_FUNCTION_INFO_V1(streamcount_retry_rejects);
PG_FUNCTION_INFO_V1(streamcount_discard_rejects);

/* The first argument; ERROR unless it is one rollup, and the caller's. */
static ScRollup *
rollup_argument(FunctionCallInfo fcinfo)
{
	Oid			relid;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("rollup must not be null")));
	relid = PG_GETARG_OID(0);
	if (sc_stream_is_stream(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a stream, not a rollup", get_rel_name(relid)),
				 errhint("The view streamcount.rollups lists the rollups.")));
	return linitial(sc_sqlapi_rollups_of(relid));
}

/* NULL: all. */
static ArrayType *
ids_argument(FunctionCallInfo fcinfo)
{
	return PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
}

/* (counted, rejected) */
Datum
streamcount_retry_rejects(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ScRollup   *rollup = rollup_argument(fcinfo);
	ScRetried	retried;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	PreventCommandIfReadOnly("streamcount.retry_rejects()");
	InitMaterializedSRF(fcinfo, 0);
	retried = sc_retry(rollup, ids_argument(fcinfo));
	values[0] = Int64GetDatum(retried.counted);
	values[1] = Int64GetDatum(retried.rejected);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

Datum
streamcount_discard_rejects(PG_FUNCTION_ARGS)
{
	ScRollup   *rollup = rollup_argument(fcinfo);
	ScIdentity	saved;
	int64		discarded;

	PreventCommandIfReadOnly("streamcount.discard_rejects()");
	sc_identity_enter_owner(&saved);
	SPI_connect();
	discarded = sc_ledger_discard(rollup, ids_argument(fcinfo));
	SPI_finish();
	sc_identity_leave(&saved);
	PG_RETURN_INT64(discarded);
}
