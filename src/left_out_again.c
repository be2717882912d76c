/*-------------------------------------------------------------------------
 *
 * left_out_again.c
 *		Rejects, read from their rows to be judged once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "left_out.h"
#include "moment.h"

#define OPEN_SQL \
	"SELECT id, partition, first_offset, message_time, key, payload," \
	" NOT (trimmed OR $3 OR ($4 AND message_time IS NULL))" \
	" FROM streamcount.left_out_data" \
	" WHERE rollup OPERATOR(pg_catalog.=) $1 AND kind OPERATOR(pg_catalog.=) 'rejected'" \
	" AND ($2 IS NULL OR id OPERATOR(pg_catalog.=) ANY ($2))" \
	" AND (NOT $5 OR trimmed OR $3 OR ($4 AND message_time IS NULL))" \
	" ORDER BY partition, first_offset"

#define REMOVE_SQL \
	"DELETE FROM streamcount.left_out_data WHERE id OPERATOR(pg_catalog.=) $1" \
	" RETURNING " SC_LEFT_OUT_BYTES

#define AGAIN_SQL \
	"UPDATE streamcount.left_out_data SET sqlstate = $2, reason = $3, \"column\" = $4, detail = $5," \
	" attempts = attempts OPERATOR(pg_catalog.+) 1" \
	" WHERE id OPERATOR(pg_catalog.=) $1"

#define GONE_SQL \
	"UPDATE streamcount.left_out_data SET attempts = attempts OPERATOR(pg_catalog.+) 1," \
	" detail = 'It could not be tried again: the message is no longer in Kafka, and not all of it was kept.'" \
	" WHERE id OPERATOR(pg_catalog.=) $1"

static SPIPlanPtr remove_plan = NULL;
static SPIPlanPtr again_plan = NULL;

Portal
sc_left_out_open(const ScRollup *rollup, ArrayType *ids, ScKeptNeeds needs,
				 bool only_those_not_whole)
{
	Oid			argtypes[] = {OIDOID, INT8ARRAYOID, BOOLOID, BOOLOID, BOOLOID};
	Datum		args[] = {ObjectIdGetDatum(rollup->relid), PointerGetDatum(ids),
		BoolGetDatum(needs.headers), BoolGetDatum(needs.time),
		BoolGetDatum(only_those_not_whole)};

	return SPI_cursor_open_with_args(NULL, OPEN_SQL, 5, argtypes, args, ids ? "     " : " n   ",
									 false, 0);
}

static Datum
field(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

/* A copy: the row is freed. */
static const char *
field_bytes(int column, size_t *len)
{
	bool		isnull;
	Datum		value = field(column, &isnull);
	bytea	   *bytes;

	*len = 0;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPCopy(value);
	*len = VARSIZE(bytes) - VARHDRSZ;
	return VARDATA(bytes);
}

bool
sc_left_out_next(Portal rejects, ScKept *kept)
{
	MemoryContext caller = CurrentMemoryContext;
	ScMessage  *m = &kept->message;
	Datum		time;
	bool		isnull;

	SPI_cursor_fetch(rejects, true, 1);
	MemoryContextSwitchTo(caller);
	if (SPI_processed == 0)
		return false;
	memset(kept, 0, sizeof(ScKept));
	kept->id = DatumGetInt64(field(1, &isnull));
	m->partition = DatumGetInt32(field(2, &isnull));
	m->offset = DatumGetInt64(field(3, &isnull));
	time = field(4, &isnull);
	kept->has_time = !isnull;
	m->timestamp_ms = isnull ? -1 : sc_moment_to_kafka(DatumGetTimestampTz(time));
	m->key = field_bytes(5, &m->key_len);
	m->payload = field_bytes(6, &m->payload_len);
	kept->whole = DatumGetBool(field(7, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/* Whoever changes rejects holds the rollup's offsets: a row that is gone was taken by hand. */
static void
check_found(int64 id)
{
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("reject " INT64_FORMAT " was removed by somebody else", id)));
}

int64
sc_left_out_remove(int64 id)
{
	Oid			argtype = INT8OID;
	Datum		arg = Int64GetDatum(id);

	if (remove_plan == NULL)
		remove_plan = sc_left_out_prepare(REMOVE_SQL, 1, &argtype);
	if (SPI_execute_plan(remove_plan, &arg, NULL, false, 0) != SPI_OK_DELETE_RETURNING)
		elog(ERROR, "could not write streamcount.left_out_data");
	check_found(id);
	return sc_left_out_answer();
}

void
sc_left_out_reject_again(const ScRollup *rollup, int64 id, const ScReject *why)
{
	static Oid	argtypes[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	const char *texts[] = {unpack_sql_state(why->sqlerrcode), why->reason,
		why->attnum > 0 ? get_attname(rollup->stream, why->attnum, true) : NULL, why->detail};
	Datum		args[5] = {Int64GetDatum(id)};
	char		nulls[] = " nnnn";

	for (int i = 0; i < (int) lengthof(texts); i++)
	{
		if (texts[i] == NULL)
			continue;
		args[i + 1] = CStringGetTextDatum(texts[i]);
		nulls[i + 1] = ' ';
	}
	if (again_plan == NULL)
		again_plan = sc_left_out_prepare(AGAIN_SQL, 5, argtypes);
	if (SPI_execute_plan(again_plan, args, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write streamcount.left_out_data");
	check_found(id);
}

void
sc_left_out_note_gone(int64 id)
{
	Oid			argtype = INT8OID;
	Datum		arg = Int64GetDatum(id);

	if (SPI_execute_with_args(GONE_SQL, 1, &argtype, &arg, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write streamcount.left_out_data");
	check_found(id);
}
