/*-------------------------------------------------------------------------
 *
 * sqlapi_steer.c
 *		SQL functions that steer rollups: pause, resume, skip.
 *
 * Each takes a rollup, or a stream for all of its rollups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "compat.h"
#include "identity.h"
#include "ledger.h"
#include "objects.h"
#include "scan.h"
#include "sqlapi.h"
#include "stats.h"
#include "stream.h"

PG_FUNCTION_INFO_V1(streamcount_pause);
PG_FUNCTION_INFO_V1(streamcount_resume);
PG_FUNCTION_INFO_V1(streamcount_skip_to);

static void
check_owner(Oid relid)
{
	if (!sc_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, get_rel_name(relid));
}

/* The rollup itself, or all rollups of the stream; each must be the caller's. */
List *
sc_sqlapi_rollups_of(Oid relation)
{
	List	   *rollups;
	ListCell   *lc;

	if (sc_stream_is_stream(relation))
		rollups = sc_catalog_rollups(relation, CurrentMemoryContext);
	else
	{
		ScRollup   *rollup = sc_catalog_rollup(relation, CurrentMemoryContext);

		if (rollup == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 get_rel_name(relation) ?
					 errmsg("\"%s\" is neither a rollup nor a stream", get_rel_name(relation)) :
					 errmsg("relation with OID %u does not exist", relation),
					 errhint("The view streamcount.rollups lists the rollups.")));
		rollups = list_make1(rollup);
	}
	foreach(lc, rollups)
		check_owner(((ScRollup *) lfirst(lc))->relid);
	return rollups;
}

/* All are of one stream, which is served again even if its workers have crashed. */
static void
tell_workers(List *rollups)
{
	if (rollups != NIL)
		sc_stats_stream_changed_at_commit(((ScRollup *) linitial(rollups))->stream);
}

/* Run one statement with the rollup as $1 and more arguments behind. */
static uint64
write_for(const ScRollup *rollup, const char *sql, int nargs, Oid *types, Datum *values)
{
	Oid			argtypes[4] = {OIDOID};
	Datum		args[4] = {ObjectIdGetDatum(rollup->relid)};

	for (int i = 0; i < nargs; i++)
	{
		argtypes[i + 1] = types[i];
		args[i + 1] = values[i];
	}
	if (SPI_execute_with_args(sql, nargs + 1, argtypes, args, NULL, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	return SPI_processed;
}

Datum
streamcount_pause(PG_FUNCTION_ARGS)
{
	List	   *rollups = sc_sqlapi_rollups_of(PG_GETARG_OID(0));
	ScIdentity	saved;
	ListCell   *lc;

	sc_identity_enter_owner(&saved);
	SPI_connect();
	foreach(lc, rollups)
		write_for(lfirst(lc),
				  "UPDATE streamcount.rollup_progress SET state = 'paused', reason = NULL,"
				  " hint = NULL, since = pg_catalog.now()"
				  " WHERE rollup OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.=) -1"
				  " AND state IS NULL", 0, NULL, NULL);
	SPI_finish();
	sc_identity_leave(&saved);
	tell_workers(rollups);
	PG_RETURN_VOID();
}

/*
 * Forget what stopped it.  The person who calls this accepts the stream's
 * definition, and the cluster, as they are now.
 */
static void
resume_one(const ScRollup *rollup, const char *fingerprint)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(fingerprint);

	/*
	 * First, and though it may be the same: a worker cannot halt it any more
	 * for what it read before.
	 */
	write_for(rollup,
			  "UPDATE streamcount.rollup_catalog SET fingerprint = $2"
			  " WHERE rollup OPERATOR(pg_catalog.=) $1", 1, &type, &value);
	write_for(rollup,
			  "UPDATE streamcount.rollup_progress SET state = NULL, reason = NULL, hint = NULL,"
			  " since = NULL, rejected_in_row = 0,"
			  " cluster = CASE WHEN reason OPERATOR(pg_catalog.~) '^the offsets are of Kafka cluster'"
			  "  THEN NULL ELSE cluster END"
			  " WHERE rollup OPERATOR(pg_catalog.=) $1 AND state IS NOT NULL", 0, NULL, NULL);
}

Datum
streamcount_resume(PG_FUNCTION_ARGS)
{
	List	   *rollups = sc_sqlapi_rollups_of(PG_GETARG_OID(0));
	List	   *fingerprints = NIL;
	ScIdentity	saved;
	ListCell   *lc,
			   *lc2;

	foreach(lc, rollups)
	{
		ScRollup   *rollup = lfirst(lc);
		ScStream   *stream = sc_stream_load(rollup->stream, false, CurrentMemoryContext);

		fingerprints = lappend(fingerprints,
							   sc_stream_fingerprint(stream, sc_objects_columns(rollup->query)));
	}
	sc_identity_enter_owner(&saved);
	SPI_connect();
	forboth(lc, rollups, lc2, fingerprints)
		resume_one(lfirst(lc), lfirst(lc2));
	SPI_finish();
	sc_identity_leave(&saved);
	tell_workers(rollups);
	PG_RETURN_VOID();
}

/* Does any of them stand before the offset, or is halted just there? */
static bool
may_skip(List *rollups, int32 partition, int64 to_offset)
{
	ListCell   *lc;

	foreach(lc, rollups)
	{
		const ScRollup *rollup = lfirst(lc);

		for (int i = 0; i < rollup->nprogress; i++)
		{
			const ScProgress *progress = &rollup->progress[i];

			if (progress->partition == partition &&
				(progress->next_offset < to_offset ||
				 (progress->next_offset == to_offset && progress->halted)))
				return true;
		}
	}
	return false;
}

/* As the brokers say; where none can be asked, as a worker has last heard.  -1: not known. */
static int64
find_end(Oid stream, List *rollups, int32 partition)
{
	int64		end;
	ListCell   *lc,
			   *lc2;

	if (sc_scan_ask_end(stream, partition, &end))
		return end;
	end = -1;
	foreach(lc, sc_stats_live_list())
	{
		const ScLive *live = lfirst(lc);

		foreach(lc2, rollups)
			if (live->rollup == ((ScRollup *) lfirst(lc2))->relid && live->partition == partition)
				end = Max(end, live->high_watermark);
	}
	return end;
}

/* What will come behind the end cannot be skipped: offsets there mean nothing yet. */
static void
check_end(List *rollups, int32 partition, int64 to_offset)
{
	int64		end = find_end(((ScRollup *) linitial(rollups))->stream, rollups, partition);

	if (end < 0)
		ereport(WARNING,
				(errmsg("offset " INT64_FORMAT " was not compared with the end of partition %d: no broker could be asked",
						to_offset, partition),
				 errhint("An offset beyond the end halts the partition.")));
	else if (to_offset > end)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot skip to offset " INT64_FORMAT " of partition %d", to_offset, partition),
				 errdetail("The partition ends at offset " INT64_FORMAT ".", end)));
}

static void
refuse_to_skip(Oid relation, int32 partition, int64 to_offset)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot skip to offset " INT64_FORMAT " of partition %d", to_offset, partition),
			 errdetail("No rollup of \"%s\" stands before it.", get_rel_name(relation)),
			 errhint("The view streamcount.progress shows where each stands; what was counted cannot be read again.")));
}

Datum
streamcount_skip_to(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);
	int32		partition = PG_GETARG_INT32(1);
	int64		to_offset = PG_GETARG_INT64(2);
	List	   *rollups = sc_sqlapi_rollups_of(relation);
	uint64		skipped;
	ScIdentity	saved;

	if (partition < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition must not be negative")));
	if (!may_skip(rollups, partition, to_offset))
		refuse_to_skip(relation, partition, to_offset);
	check_end(rollups, partition, to_offset);
	sc_identity_enter_owner(&saved);
	SPI_connect();
	skipped = sc_ledger_skip(rollups, partition, to_offset);
	SPI_finish();
	sc_identity_leave(&saved);
	if (skipped == 0)
		refuse_to_skip(relation, partition, to_offset);
	sc_stats_changed_at_commit();
	PG_RETURN_VOID();
}
