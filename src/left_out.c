/*-------------------------------------------------------------------------
 *
 * left_out.c
 *		Messages that are not counted, each with its reason.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "decode.h"
#include "guc.h"
#include "left_out.h"
#include "moment.h"

#define NARGS 14

#define INSERT_SQL \
	"INSERT INTO streamcount.left_out_data (rollup, kind, partition, first_offset, end_offset," \
	" message_time, sqlstate, reason, \"column\", detail, key, headers, payload, trimmed)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)" \
	" RETURNING " SC_LEFT_OUT_BYTES

#define ROOM_SQL \
	"SELECT COALESCE(pg_catalog.sum(reject_bytes), 0)::pg_catalog.int8" \
	" FROM streamcount.rollup_progress WHERE rollup OPERATOR(pg_catalog.=) $1"

#define BYTES_SQL \
	"UPDATE streamcount.rollup_progress" \
	" SET reject_bytes = reject_bytes OPERATOR(pg_catalog.+) $3" \
	" WHERE rollup OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.=) $2"

static const char *const kind_names[] = {
	[SC_LEFT_OUT_REJECTED] = "rejected",
	[SC_LEFT_OUT_LOST] = "lost"
};

static SPIPlanPtr plan = NULL;

/* What the rejects of one partition take more than before */
typedef struct Added
{
	int32		partition;
	int64		bytes;
} Added;

/* The first bytes, as many as streamcount.reject_payload_limit keeps. */
static size_t
kept_len(size_t len)
{
	return Min(len, (size_t) sc_reject_payload_limit * 1024);
}

static void
set_text(Datum *args, char *nulls, int i, const char *value)
{
	if (value == NULL)
		return;
	args[i] = CStringGetTextDatum(value);
	nulls[i] = ' ';
}

/* Kafka's time; one that a timestamptz cannot hold is left NULL. */
static void
set_time(Datum *args, char *nulls, int i, int64 ms)
{
	TimestampTz ts;

	if (ms < 0 || !sc_moment_try_kafka(ms, &ts))
		return;
	args[i] = TimestampTzGetDatum(ts);
	nulls[i] = ' ';
}

/*
 * Key, headers and payload, as far as they are kept: where room does not do
 * for them, nothing is.
 */
static void
set_message(Datum *args, char *nulls, const ScMessage *m, int64 room)
{
	Datum		headers = m->nheaders > 0 ? sc_decode_headers(m) : (Datum) 0;
	int64		bytes = kept_len(m->key_len) + kept_len(m->payload_len) +
		(headers ? VARSIZE(DatumGetPointer(headers)) : 0);
	bool		fits = bytes == 0 || bytes <= room;

	set_time(args, nulls, 5, m->timestamp_ms);
	args[13] = BoolGetDatum(!fits || kept_len(m->key_len) < m->key_len ||
							kept_len(m->payload_len) < m->payload_len);
	if (m->key && fits)
	{
		args[10] = PointerGetDatum(cstring_to_text_with_len(m->key, kept_len(m->key_len)));
		nulls[10] = ' ';
	}
	if (headers && fits)
	{
		args[11] = headers;
		nulls[11] = ' ';
	}
	if (m->payload && fits)
	{
		args[12] = PointerGetDatum(cstring_to_text_with_len(m->payload, kept_len(m->payload_len)));
		nulls[12] = ' ';
	}
}

int64
sc_left_out_answer(void)
{
	bool		isnull;
	int64		answer;

	if (SPI_processed != 1)
		elog(ERROR, "expected one row, found " UINT64_FORMAT, SPI_processed);
	answer = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return answer;
}

/* Returns the bytes of the message that are kept, at most room. */
static int64
write_one(const ScRollup *rollup, const ScLeftOut *entry, int64 room)
{
	static Oid	argtypes[NARGS] = {OIDOID, TEXTOID, INT4OID, INT8OID, INT8OID, TIMESTAMPTZOID,
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, BYTEAOID, JSONBOID, BYTEAOID, BOOLOID};
	Datum		args[NARGS] = {0};
	char		nulls[NARGS + 1] = "     nnnnnnnn ";
	const ScReject *why = entry->why;

	args[0] = ObjectIdGetDatum(rollup->relid);
	args[1] = CStringGetTextDatum(kind_names[entry->kind]);
	args[2] = Int32GetDatum(entry->partition);
	args[3] = Int64GetDatum(entry->first_offset);
	args[4] = Int64GetDatum(entry->end_offset);
	args[13] = BoolGetDatum(false);
	if (why != NULL)
	{
		set_text(args, nulls, 6, unpack_sql_state(why->sqlerrcode));
		set_text(args, nulls, 7, why->reason);
		if (why->attnum > 0)
			set_text(args, nulls, 8, get_attname(rollup->stream, why->attnum, true));
		set_text(args, nulls, 9, why->detail);
	}
	if (entry->message != NULL)
		set_message(args, nulls, entry->message, room);
	if (plan == NULL)
		plan = sc_left_out_prepare(INSERT_SQL, NARGS, argtypes);
	if (SPI_execute_plan(plan, args, nulls, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write streamcount.left_out_data");
	return sc_left_out_answer();
}

SPIPlanPtr
sc_left_out_prepare(const char *sql, int nargs, Oid *argtypes)
{
	SPIPlanPtr	made = SPI_prepare(sql, nargs, argtypes);

	if (made == NULL || SPI_keepplan(made) != 0)
		elog(ERROR, "could not prepare a statement: %s", SPI_result_code_string(SPI_result));
	return made;
}

/* How many bytes more may be kept of the rollup's rejects */
static int64
find_room(const ScRollup *rollup)
{
	Oid			argtype = OIDOID;
	Datum		arg = ObjectIdGetDatum(rollup->relid);

	if (SPI_execute_with_args(ROOM_SQL, 1, &argtype, &arg, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read streamcount.rollup_progress");
	return (int64) sc_reject_payload_total * 1024 - sc_left_out_answer();
}

static List *
add(List *added, int32 partition, int64 bytes)
{
	Added	   *one;
	ListCell   *lc;

	foreach(lc, added)
	{
		one = lfirst(lc);
		if (one->partition == partition)
		{
			one->bytes += bytes;
			return added;
		}
	}
	one = palloc(sizeof(Added));
	one->partition = partition;
	one->bytes = bytes;
	return lappend(added, one);
}

void
sc_left_out_write(const ScRollup *rollup, List *entries)
{
	Oid			argtypes[] = {OIDOID, INT4OID, INT8OID};
	int64		room = entries != NIL ? find_room(rollup) : 0;
	List	   *added = NIL;
	ListCell   *lc;

	foreach(lc, entries)
	{
		const ScLeftOut *entry = lfirst(lc);
		int64		bytes = write_one(rollup, entry, room);

		room -= bytes;
		if (bytes > 0)
			added = add(added, entry->partition, bytes);
	}
	foreach(lc, added)
	{
		const Added *one = lfirst(lc);
		Datum		args[] = {ObjectIdGetDatum(rollup->relid), Int32GetDatum(one->partition),
		Int64GetDatum(one->bytes)};

		if (SPI_execute_with_args(BYTES_SQL, 3, argtypes, args, NULL, false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "could not write streamcount.rollup_progress");
	}
}
