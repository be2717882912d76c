/*-------------------------------------------------------------------------
 *
 * ledger_correct.c
 *		What a person changes in the books of a rollup.
 *
 * In the person's own transaction, as the extension's owner, connected to
 * SPI.  Locks are taken as a flush takes them: the data table, if it is
 * written, then the offsets, by rollup's data table and partition.  Whoever
 * has the offsets of all partitions has the rollup's rejects, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/lmgr.h"

#include "ledger_private.h"
#include "left_out.h"

#define LOCK_SQL \
	"SELECT partition FROM streamcount.rollup_progress" \
	" WHERE rollup OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.>=) 0" \
	" ORDER BY partition FOR NO KEY UPDATE"

#define SETTLE_SQL \
	"UPDATE streamcount.rollup_progress SET counted = counted OPERATOR(pg_catalog.+) $3," \
	" filtered = filtered OPERATOR(pg_catalog.+) $4," \
	" rejected = rejected OPERATOR(pg_catalog.-) $3 OPERATOR(pg_catalog.-) $4," \
	" reject_bytes = reject_bytes OPERATOR(pg_catalog.-) $5" \
	" WHERE rollup OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.=) $2"

#define NOTE_SKIPPED_SQL \
	"INSERT INTO streamcount.left_out_data" \
	" (rollup, kind, partition, first_offset, end_offset, reason)" \
	" SELECT rollup, 'skipped', partition, next_offset, $3," \
	"  pg_catalog.concat('skipped by ', SESSION_USER)" \
	" FROM streamcount.rollup_progress" \
	" WHERE rollup OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.=) $2" \
	" AND next_offset OPERATOR(pg_catalog.<) $3 FOR NO KEY UPDATE"

#define SKIP_SQL \
	"UPDATE streamcount.rollup_progress SET next_offset = $3, rejected_in_row = 0," \
	" last_offset = -1, state = NULL, reason = NULL, hint = NULL, since = NULL" \
	" WHERE rollup OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.=) $2" \
	" AND (next_offset OPERATOR(pg_catalog.<) $3" \
	"  OR next_offset OPERATOR(pg_catalog.=) $3 AND state OPERATOR(pg_catalog.=) 'halted')"

/*
 * The ranges that end or begin where a discarded one begins or ends are made
 * one with it.
 */
#define DISCARD_SQL \
	"WITH gone AS (" \
	"  DELETE FROM streamcount.left_out_data" \
	"  WHERE rollup OPERATOR(pg_catalog.=) $1 AND kind OPERATOR(pg_catalog.=) 'rejected'" \
	"   AND ($2 IS NULL OR id OPERATOR(pg_catalog.=) ANY ($2))" \
	"  RETURNING partition, first_offset, end_offset, " SC_LEFT_OUT_BYTES " AS bytes)," \
	" beside AS (" \
	"  DELETE FROM streamcount.left_out_data WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	"   SELECT d.id FROM streamcount.left_out_data d JOIN gone g" \
	"    ON g.partition OPERATOR(pg_catalog.=) d.partition" \
	"    AND g.end_offset OPERATOR(pg_catalog.=) d.first_offset" \
	"   WHERE d.rollup OPERATOR(pg_catalog.=) $1 AND d.kind OPERATOR(pg_catalog.=) 'discarded'" \
	"   UNION SELECT d.id FROM streamcount.left_out_data d JOIN gone g" \
	"    ON g.partition OPERATOR(pg_catalog.=) d.partition" \
	"    AND g.first_offset OPERATOR(pg_catalog.=) d.end_offset" \
	"   WHERE d.rollup OPERATOR(pg_catalog.=) $1 AND d.kind OPERATOR(pg_catalog.=) 'discarded'))" \
	"  RETURNING partition, first_offset, end_offset)," \
	" noted AS (" \
	"  INSERT INTO streamcount.left_out_data (rollup, kind, partition, first_offset, end_offset, reason)" \
	"  SELECT $1, 'discarded', partition, pg_catalog.lower(r), pg_catalog.upper(r)," \
	"   pg_catalog.concat('discarded by ', SESSION_USER)" \
	"  FROM (SELECT partition, pg_catalog.unnest(pg_catalog.range_agg(" \
	"     pg_catalog.int8range(first_offset, end_offset))) AS r" \
	"    FROM (SELECT partition, first_offset, end_offset FROM gone" \
	"     UNION ALL SELECT partition, first_offset, end_offset FROM beside) AS a" \
	"    GROUP BY partition) AS b)," \
	" moved AS (" \
	"  UPDATE streamcount.rollup_progress p SET rejected = p.rejected OPERATOR(pg_catalog.-) g.n," \
	"   discarded = p.discarded OPERATOR(pg_catalog.+) g.n," \
	"   reject_bytes = p.reject_bytes OPERATOR(pg_catalog.-) g.bytes" \
	"  FROM (SELECT partition, pg_catalog.count(*) AS n," \
	"     pg_catalog.sum(bytes)::pg_catalog.int8 AS bytes FROM gone GROUP BY partition) AS g" \
	"  WHERE p.rollup OPERATOR(pg_catalog.=) $1 AND p.partition OPERATOR(pg_catalog.=) g.partition)" \
	" SELECT pg_catalog.count(*) FROM gone"

static void
lock_books(const ScRollup *rollup)
{
	Oid			argtype = OIDOID;
	Datum		arg = ObjectIdGetDatum(rollup->relid);

	sc_ledger_lock_progress();
	if (SPI_execute_with_args(LOCK_SQL, 1, &argtype, &arg, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read streamcount.rollup_progress");
}

/* The partitions, as a task has them that takes any message. */
static void
make_parts(ScTask *task)
{
	bool		isnull;

	task->nparts = (int) SPI_processed;
	for (int i = 0; i < task->nparts; i++)
	{
		ScPart	   *part = &task->parts[i];

		part->partition = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
													  SPI_tuptable->tupdesc, 1, &isnull));
		part->active = true;
	}
}

void
sc_ledger_lock(ScTask *task)
{
	MemoryContext caller = CurrentMemoryContext;

	LockRelationOid(task->rollup->data, RowExclusiveLock);
	lock_books(task->rollup);
	task->parts = MemoryContextAllocZero(caller, sizeof(ScPart) * Max(SPI_processed, 1));
	make_parts(task);
}

void
sc_ledger_settle(const ScRollup *rollup, const ScPart *part, int64 bytes)
{
	Oid			argtypes[] = {OIDOID, INT4OID, INT8OID, INT8OID, INT8OID};
	Datum		args[] = {ObjectIdGetDatum(rollup->relid), Int32GetDatum(part->partition),
		Int64GetDatum(part->counted), Int64GetDatum(part->filtered), Int64GetDatum(bytes)};

	if (SPI_execute_with_args(SETTLE_SQL, 5, argtypes, args, NULL, false, 0) != SPI_OK_UPDATE ||
		SPI_processed != 1)
		elog(ERROR, "could not write streamcount.rollup_progress");
}

int64
sc_ledger_discard(const ScRollup *rollup, ArrayType *ids)
{
	Oid			argtypes[] = {OIDOID, INT8ARRAYOID};
	Datum		args[] = {ObjectIdGetDatum(rollup->relid), PointerGetDatum(ids)};
	bool		isnull;

	lock_books(rollup);
	if (SPI_execute_with_args(DISCARD_SQL, 2, argtypes, args, ids ? "  " : " n",
							  false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not write streamcount.left_out_data");
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static int
by_data_oid(const ListCell *a, const ListCell *b)
{
	Oid			x = ((ScRollup *) lfirst(a))->data;
	Oid			y = ((ScRollup *) lfirst(b))->data;

	return x < y ? -1 : x > y;
}

uint64
sc_ledger_skip(List *rollups, int32 partition, int64 to_offset)
{
	Oid			argtypes[] = {OIDOID, INT4OID, INT8OID};
	List	   *ordered = list_copy(rollups);
	uint64		skipped = 0;
	ListCell   *lc;

	list_sort(ordered, by_data_oid);
	sc_ledger_lock_progress();
	foreach(lc, ordered)
	{
		Datum		args[] = {ObjectIdGetDatum(((ScRollup *) lfirst(lc))->relid),
		Int32GetDatum(partition), Int64GetDatum(to_offset)};

		if (SPI_execute_with_args(NOTE_SKIPPED_SQL, 3, argtypes, args, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not write streamcount.left_out_data");
		if (SPI_execute_with_args(SKIP_SQL, 3, argtypes, args, NULL, false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "could not write streamcount.rollup_progress");
		skipped += SPI_processed;
	}
	return skipped;
}
