/*-------------------------------------------------------------------------
 *
 * ledger_progress.c
 *		The offsets and books of a rollup: its rows of rollup_progress.
 *
 * The fence: the offsets are locked and compared before a row is merged, and
 * whoever finds another next_offset than it read before has lost the partition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "ledger_private.h"
#include "left_out.h"

#define FENCE \
	"SELECT p.partition FROM streamcount.rollup_progress p" \
	" JOIN ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u(partition, old)" \
	"  ON p.partition OPERATOR(pg_catalog.=) u.partition" \
	"  AND p.next_offset OPERATOR(pg_catalog.=) u.old" \
	" WHERE p.rollup OPERATOR(pg_catalog.=) $1" \
	"  AND p.state IS NULL AND EXISTS (SELECT FROM streamcount.rollup_progress s" \
	"   WHERE s.rollup OPERATOR(pg_catalog.=) $1 AND s.partition OPERATOR(pg_catalog.=) -1" \
	"    AND s.state IS NULL)" \
	" ORDER BY p.partition FOR NO KEY UPDATE OF p"

/*
 * A view that the query reads may have been replaced since the fence, as the
 * merge waited for it: who replaces it halts the rollup in that transaction.
 * One that is paused since then completes what is under way.
 */
#define ADVANCE \
	"UPDATE streamcount.rollup_progress AS p SET next_offset = u.new," \
	" counted = p.counted OPERATOR(pg_catalog.+) u.counted," \
	" filtered = p.filtered OPERATOR(pg_catalog.+) u.filtered," \
	" rejected = p.rejected OPERATOR(pg_catalog.+) u.rejected," \
	" rejected_in_row = u.in_row, last_offset = u.last_offset, last_hash = u.last_hash," \
	" state = u.state, reason = u.reason, hint = u.hint," \
	" since = CASE WHEN u.state IS NULL THEN NULL ELSE pg_catalog.now() END" \
	" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)," \
	"   pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)," \
	"   pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10)," \
	"   pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13))" \
	"  AS u(partition, old, new, counted, filtered, rejected, in_row, last_offset, last_hash," \
	"   state, reason, hint)" \
	" WHERE p.rollup OPERATOR(pg_catalog.=) $1" \
	"  AND p.partition OPERATOR(pg_catalog.=) u.partition" \
	"  AND p.next_offset OPERATOR(pg_catalog.=) u.old" \
	"  AND EXISTS (SELECT FROM streamcount.rollup_progress s" \
	"   WHERE s.rollup OPERATOR(pg_catalog.=) $1 AND s.partition OPERATOR(pg_catalog.=) -1" \
	"    AND s.state IS DISTINCT FROM 'halted')"

#define ADVANCE_NARGS 13

static SPIPlanPtr fence_plan = NULL;
static SPIPlanPtr advance_plan = NULL;

/* Does the flush move this partition? */
static bool
moves(const ScPart *part)
{
	return part->active && (part->new_next != part->next || part->halt_reason);
}

int
sc_ledger_count_moving(const ScTask *task)
{
	int			n = 0;

	for (int i = 0; i < task->nparts; i++)
		if (moves(&task->parts[i]))
			n++;
	return n;
}

static Datum
array_of(Oid type, Datum *values, bool *nulls, int n)
{
	int			lbound = 1;

	switch (type)
	{
		case INT4OID:
			return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lbound, INT4OID,
													  4, true, TYPALIGN_INT));
		case INT8OID:
			return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lbound, INT8OID,
													  8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		default:
			return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lbound, TEXTOID,
													  -1, false, TYPALIGN_INT));
	}
}

static void
lost_the_fence(const ScTask *task, int expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("offsets of rollup %s were moved by somebody else", task->rollup->name),
			 errdetail("Of %d partitions, " UINT64_FORMAT " still stand where this worker left them.",
					   expected, SPI_processed)));
}

/* The lock of the UPDATE that follows: a REINDEX between the two would deadlock. */
void
sc_ledger_lock_progress(void)
{
	if (SPI_execute("LOCK TABLE streamcount.rollup_progress IN ROW EXCLUSIVE MODE",
					false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not lock streamcount.rollup_progress");
}

void
sc_ledger_fence(const ScTask *task)
{
	static Oid	argtypes[] = {OIDOID, INT4ARRAYOID, INT8ARRAYOID};
	int			n = 0;
	int			moving = sc_ledger_count_moving(task);
	Datum	   *partitions = palloc(sizeof(Datum) * moving);
	Datum	   *old = palloc(sizeof(Datum) * moving);
	Datum		args[3];

	for (int i = 0; i < task->nparts; i++)
	{
		if (!moves(&task->parts[i]))
			continue;
		partitions[n] = Int32GetDatum(task->parts[i].partition);
		old[n++] = Int64GetDatum(task->parts[i].next);
	}
	args[0] = ObjectIdGetDatum(task->rollup->relid);
	args[1] = array_of(INT4OID, partitions, NULL, n);
	args[2] = array_of(INT8OID, old, NULL, n);

	sc_ledger_lock_progress();
	if (fence_plan == NULL)
		fence_plan = sc_left_out_prepare(FENCE, 3, argtypes);
	if (SPI_execute_plan(fence_plan, args, NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != (uint64) n)
		lost_the_fence(task, n);
}

void
sc_ledger_advance(const ScTask *task)
{
	static Oid	argtypes[ADVANCE_NARGS] = {OIDOID, INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
		INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
	TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	int			moving = sc_ledger_count_moving(task);
	Datum	   *values[ADVANCE_NARGS];
	bool	   *nulls = palloc(sizeof(bool) * moving);
	Datum		args[ADVANCE_NARGS];
	int			n = 0;

	for (int c = 1; c < ADVANCE_NARGS; c++)
		values[c] = palloc0(sizeof(Datum) * moving);
	for (int i = 0; i < task->nparts; i++)
	{
		const ScPart *part = &task->parts[i];

		if (!moves(part))
			continue;
		values[1][n] = Int32GetDatum(part->partition);
		values[2][n] = Int64GetDatum(part->next);
		values[3][n] = Int64GetDatum(part->new_next);
		values[4][n] = Int64GetDatum(part->counted);
		values[5][n] = Int64GetDatum(part->filtered);
		values[6][n] = Int64GetDatum(part->rejected);
		values[7][n] = Int32GetDatum(part->new_rejected_in_row);
		values[8][n] = Int64GetDatum(part->new_seen.offset);
		values[9][n] = Int64GetDatum(part->new_seen.hash);
		nulls[n] = part->halt_reason == NULL;
		if (part->halt_reason)
		{
			values[10][n] = CStringGetTextDatum("halted");
			values[11][n] = CStringGetTextDatum(part->halt_reason);
			values[12][n] = CStringGetTextDatum(part->halt_hint);
		}
		n++;
	}
	args[0] = ObjectIdGetDatum(task->rollup->relid);
	for (int c = 1; c < ADVANCE_NARGS; c++)
		args[c] = array_of(argtypes[c] == INT4ARRAYOID ? INT4OID :
						   argtypes[c] == INT8ARRAYOID ? INT8OID : TEXTOID,
						   values[c], argtypes[c] == TEXTARRAYOID ? nulls : NULL, n);
	if (advance_plan == NULL)
		advance_plan = sc_left_out_prepare(ADVANCE, ADVANCE_NARGS, argtypes);
	if (SPI_execute_plan(advance_plan, args, NULL, false, 0) != SPI_OK_UPDATE ||
		SPI_processed != (uint64) n)
		lost_the_fence(task, n);
}

static void
write_progress(const char *sql, int nargs, Oid *argtypes, Datum *args, const char *nulls,
			   int expected)
{
	if (SPI_execute_with_args(sql, nargs, argtypes, args, nulls, false, 0) != expected)
		elog(ERROR, "could not write streamcount.rollup_progress");
}

/* The catalog's row is locked: DROP deletes it first, and forgets progress after that. */
bool
sc_ledger_begin_partition(const ScRollup *rollup, int32 partition, int64 offset,
						  const char *cluster)
{
	Oid			argtypes[] = {OIDOID, INT4OID, TEXTOID, INT8OID};
	Datum		args[4];
	char		nulls[] = "    ";

	args[0] = ObjectIdGetDatum(rollup->relid);
	args[1] = Int32GetDatum(partition);
	args[2] = cluster ? CStringGetTextDatum(cluster) : (Datum) 0;
	nulls[2] = cluster ? ' ' : 'n';
	args[3] = Int64GetDatum(offset);
	write_progress("INSERT INTO streamcount.rollup_progress"
				   " (rollup, partition, cluster, start_offset, next_offset)"
				   " SELECT rollup, $2, $3, $4, $4 FROM streamcount.rollup_catalog"
				   " WHERE rollup OPERATOR(pg_catalog.=) $1 FOR KEY SHARE",
				   4, argtypes, args, nulls, SPI_OK_INSERT);
	return SPI_processed > 0;
}

void
sc_ledger_pin_cluster(const ScRollup *rollup, const char *cluster)
{
	Oid			argtypes[] = {OIDOID, TEXTOID};
	Datum		args[] = {ObjectIdGetDatum(rollup->relid), CStringGetTextDatum(cluster)};

	write_progress("UPDATE streamcount.rollup_progress SET cluster = $2"
				   " WHERE rollup OPERATOR(pg_catalog.=) $1"
				   " AND partition OPERATOR(pg_catalog.>=) 0 AND cluster IS NULL",
				   2, argtypes, args, NULL, SPI_OK_UPDATE);
}

void
sc_ledger_note_missing(const ScRollup *rollup, const char *topic, const char *cluster)
{
	Oid			argtypes[] = {OIDOID, TEXTOID, TEXTOID};
	Datum		args[] = {ObjectIdGetDatum(rollup->relid), CStringGetTextDatum(topic), 0};
	char		nulls[] = "   ";

	args[2] = cluster ? CStringGetTextDatum(cluster) : (Datum) 0;
	nulls[2] = cluster ? ' ' : 'n';
	write_progress("UPDATE streamcount.rollup_progress SET missing_topic = $2, cluster = $3"
				   " WHERE rollup OPERATOR(pg_catalog.=) $1"
				   " AND partition OPERATOR(pg_catalog.=) -1",
				   3, argtypes, args, nulls, SPI_OK_UPDATE);
}

/* A whole rollup (partition -1) stands nowhere. */
static void
write_halt(Oid rollup, int32 partition, int64 next_offset, const char *reason, const char *hint)
{
	Oid			argtypes[] = {OIDOID, INT4OID, TEXTOID, TEXTOID, INT8OID};
	Datum		args[] = {ObjectIdGetDatum(rollup), Int32GetDatum(partition), 0, 0,
	Int64GetDatum(next_offset)};
	char		nulls[] = "     ";

	args[2] = CStringGetTextDatum(reason);
	args[3] = hint ? CStringGetTextDatum(hint) : (Datum) 0;
	nulls[3] = hint ? ' ' : 'n';
	write_progress("UPDATE streamcount.rollup_progress SET state = 'halted',"
				   " reason = $3, hint = $4, since = pg_catalog.now()"
				   " WHERE rollup OPERATOR(pg_catalog.=) $1"
				   " AND partition OPERATOR(pg_catalog.=) $2"
				   " AND (partition OPERATOR(pg_catalog.<) 0"
				   "  OR next_offset OPERATOR(pg_catalog.=) $5 AND state IS NULL)",
				   5, argtypes, args, nulls, SPI_OK_UPDATE);
}

/* The fence again: skip_to() may have the row, and what is behind is to be read. */
bool
sc_ledger_halt_at(Oid rollup, int32 partition, int64 next_offset,
				  const char *reason, const char *hint)
{
	bool		written;

	sc_ledger_start(rollup);
	write_halt(rollup, partition, next_offset, reason, hint);
	written = SPI_processed > 0;
	sc_ledger_commit();
	return written;
}

/* The row is locked: resume() writes it first, and forgets halts after that. */
bool
sc_ledger_halt_as_read(Oid rollup, TransactionId version, const char *reason, const char *hint)
{
	Oid			argtypes[] = {OIDOID, XIDOID};
	Datum		args[] = {ObjectIdGetDatum(rollup), TransactionIdGetDatum(version)};
	bool		as_read;

	sc_ledger_start(rollup);
	if (SPI_execute_with_args("SELECT FROM streamcount.rollup_catalog"
							  " WHERE rollup OPERATOR(pg_catalog.=) $1"
							  " AND xmin OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE",
							  2, argtypes, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not lock a row of streamcount.rollup_catalog");
	as_read = SPI_processed > 0;
	if (as_read)
		write_halt(rollup, -1, -1, reason, hint);
	sc_ledger_commit();
	return as_read;
}
