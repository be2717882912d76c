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

#define NARGS 13

#define INSERT_SQL \
	"INSERT INTO streamcount.left_out_data (rollup, kind, partition, first_offset, end_offset," \
	" message_time, sqlstate, reason, \"column\", detail, key, headers, payload)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"

static const char *const kind_names[] = {"rejected", "skipped", "lost"};

static SPIPlanPtr plan = NULL;

/* The first bytes, as many as streamcount.reject_payload_limit keeps. */
static Datum
kept_bytes(const char *data, size_t len)
{
	return PointerGetDatum(cstring_to_text_with_len(data,
													Min(len, (size_t) sc_reject_payload_limit * 1024)));
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

static void
write_one(const ScRollup *rollup, const ScLeftOut *entry)
{
	static Oid	argtypes[NARGS] = {OIDOID, TEXTOID, INT4OID, INT8OID, INT8OID, TIMESTAMPTZOID,
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, BYTEAOID, JSONBOID, BYTEAOID};
	Datum		args[NARGS] = {0};
	char		nulls[NARGS + 1] = "nnnnnnnnnnnnn";
	const ScMessage *m = entry->message;
	const ScReject *why = entry->why;

	args[0] = ObjectIdGetDatum(rollup->relid);
	args[1] = CStringGetTextDatum(kind_names[entry->kind]);
	args[2] = Int32GetDatum(entry->partition);
	args[3] = Int64GetDatum(entry->first_offset);
	args[4] = Int64GetDatum(entry->end_offset);
	memset(nulls, ' ', 5);
	if (why != NULL)
	{
		set_text(args, nulls, 6, unpack_sql_state(why->sqlerrcode));
		set_text(args, nulls, 7, why->reason);
		if (why->attnum > 0)
			set_text(args, nulls, 8, get_attname(rollup->stream, why->attnum, true));
		set_text(args, nulls, 9, why->detail);
	}
	if (m != NULL)
	{
		set_time(args, nulls, 5, m->timestamp_ms);
		if (m->key)
		{
			args[10] = kept_bytes(m->key, m->key_len);
			nulls[10] = ' ';
		}
		if (m->nheaders > 0)
		{
			args[11] = sc_decode_headers(m);
			nulls[11] = ' ';
		}
		if (m->payload)
		{
			args[12] = kept_bytes(m->payload, m->payload_len);
			nulls[12] = ' ';
		}
	}
	if (plan == NULL)
	{
		plan = SPI_prepare(INSERT_SQL, NARGS, argtypes);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare a statement: %s", SPI_result_code_string(SPI_result));
	}
	if (SPI_execute_plan(plan, args, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write streamcount.left_out_data");
}

void
sc_left_out_write(const ScRollup *rollup, List *entries)
{
	ListCell   *lc;

	foreach(lc, entries)
		write_one(rollup, lfirst(lc));
}
