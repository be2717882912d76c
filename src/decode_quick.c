/*-------------------------------------------------------------------------
 *
 * decode_quick.c
 *		The columns of a message, as far as they are sure.
 *
 * Guarantee: a value that is not in doubt is the one that decode.c gives.
 * Owns: buffers that only grow, one for each column; and scratch, for the
 * types whose values PostgreSQL's input functions make.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "decode_convert.h"
#include "decode_index.h"
#include "decode_json.h"
#include "decode_quick.h"
#include "mb/pg_wchar.h"
#include "moment.h"
#include "nodes/primnodes.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * How often a missing member is in doubt, so that decode.c looks for one
 * that differs in case.
 */
#define CASE_DOUBTS	100

typedef struct Column
{
	const ScColumn *def;
	ScConvert	convert;
	const ScJsonValue *json;	/* SC_COLUMN_MEMBER */
	int			case_doubts;	/* still to have */
	bool		have_default;
	ScQuickValue default_value; /* in doubt where it has to be evaluated */
} Column;

struct ScQuick
{
	const ScStream *stream;
	ScJsonPaths *paths;
	MemoryContext scratch;		/* reset for each message; NULL: not needed */
	size_t		topic_len;
	int			ncolumns;
	Column	   *columns;
};

bool
sc_decode_quick_can(const ScColumn *column)
{
	switch (column->kind)
	{
		case SC_COLUMN_MEMBER:
			return sc_decode_convert_can(column->type);
		case SC_COLUMN_PAYLOAD:
			/* jsonb would have to be judged anew for each payload */
			return column->type != JSONBOID && sc_decode_convert_can(column->type);
		case SC_COLUMN_METADATA:
			switch (column->metadata)
			{
				case SC_META_TOPIC:
				case SC_META_PARTITION:
				case SC_META_KEY:
					return true;
				case SC_META_OFFSET:
				case SC_META_TIMESTAMP:
					return FLOAT8PASSBYVAL;
				case SC_META_HEADERS:
				case SC_META_VALUE:
					return false;
			}
	}
	return false;
}

/* What a missing member stands for; sure where it is a constant already */
static void
init_default(Column *column)
{
	const ScColumn *def = column->def;
	ScQuickValue *value = &column->default_value;
	const Const *constant = (const Const *) def->default_expr;

	column->have_default = (def->default_expr != NULL);
	if (!column->have_default)
		return;
	value->doubt = !IsA(constant, Const) || constant->consttype != def->type;
	if (value->doubt)
		return;

	value->isnull = constant->constisnull;
	value->value = constant->constvalue;
	if (!value->isnull && (def->type == TEXTOID || def->type == VARCHAROID))
	{
		struct varlena *text = PG_DETOAST_DATUM(constant->constvalue);

		value->value = PointerGetDatum(text);
		value->text = VARDATA_ANY(text);
		value->len = VARSIZE_ANY_EXHDR(text);
	}
}

static void
init_column(ScQuick *quick, Column *column, const ScColumn *def, bool as_datum,
			MemoryContext cx)
{
	column->def = def;
	sc_decode_convert_create(&column->convert, def,
							 as_datum || def->type == BYTEAOID, cx);
	if (def->kind != SC_COLUMN_MEMBER)
		return;

	column->json = sc_decode_json_want(quick->paths, def->npath, def->path);
	init_default(column);
	if (def->npath == 1 && strcmp(def->path[0], def->name) == 0)
		column->case_doubts = CASE_DOUBTS;
}

ScQuick *
sc_decode_quick_create(const ScStream *stream, const Bitmapset *attnums,
					   const Bitmapset *datums, MemoryContext cx)
{
	MemoryContext oldcx = MemoryContextSwitchTo(cx);
	ScQuick    *quick = palloc0(sizeof(ScQuick));

	quick->stream = stream;
	quick->paths = sc_decode_json_create(cx);
	quick->topic_len = strlen(stream->topic);
	quick->columns = palloc0(sizeof(Column) * Max(stream->ncolumns, 1));
	for (int i = 0; i < stream->ncolumns; i++)
	{
		const ScColumn *def = &stream->columns[i];

		if (!bms_is_member(def->attnum, attnums))
			continue;
		init_column(quick, &quick->columns[quick->ncolumns++], def,
					bms_is_member(def->attnum, datums), cx);
		if (sc_decode_convert_throws(def->type) && quick->scratch == NULL)
			quick->scratch = AllocSetContextCreate(cx, "streamcount decode quick",
												   ALLOCSET_DEFAULT_SIZES);
	}

	MemoryContextSwitchTo(oldcx);
	return quick;
}

bool
sc_decode_quick_throws(const ScQuick *quick)
{
	return quick->scratch != NULL;
}

static bool
is_text(const char *bytes, size_t len)
{
	return len <= SC_DECODE_INDEX_MAX &&
		pg_encoding_verifymbstr(PG_UTF8, bytes, (int) len) == (int) len;
}

static bool
read_key(Column *column, const ScMessage *message, ScQuickValue *value)
{
	value->isnull = (message->key == NULL);
	if (value->isnull)
		return true;
	if (message->key_len > SC_DECODE_INDEX_MAX ||
		(column->def->type == TEXTOID && !is_text(message->key, message->key_len)))
		return false;
	sc_decode_convert_bytes(&column->convert, message->key, message->key_len, value);
	return true;
}

static bool
read_metadata(const ScQuick *quick, Column *column, const ScMessage *message,
			  ScQuickValue *value)
{
	TimestampTz ts;

	switch (column->def->metadata)
	{
		case SC_META_TOPIC:
			sc_decode_convert_bytes(&column->convert, quick->stream->topic,
									quick->topic_len, value);
			return true;
		case SC_META_PARTITION:
			value->value = Int32GetDatum(message->partition);
			return true;
		case SC_META_OFFSET:
			value->value = Int64GetDatum(message->offset);
			return true;
		case SC_META_KEY:
			return read_key(column, message, value);
		case SC_META_TIMESTAMP:
			value->isnull = (message->timestamp_ms == -1);
			if (value->isnull)
				return true;
			if (!sc_moment_try_kafka(message->timestamp_ms, &ts))
				return false;
			value->value = TimestampTzGetDatum(ts);
			return true;
		default:
			return false;
	}
}

/* The whole payload reads like a JSON string of the same text */
static bool
read_payload(Column *column, const ScMessage *message, ScQuickValue *value)
{
	ScJsonValue json = {.kind = SC_JSON_STRING};

	json.start = message->payload;
	json.len = message->payload_len;
	return sc_decode_convert(&column->convert, &json, value);
}

static bool
read_member(Column *column, ScQuickValue *value)
{
	if (column->json->kind == SC_JSON_MISSING)
	{
		if (column->case_doubts > 0)
		{
			column->case_doubts--;
			return false;
		}
		if (column->have_default)
		{
			*value = column->default_value;
			return !value->doubt;
		}
	}
	return sc_decode_convert(&column->convert, column->json, value);
}

static bool
read_column(const ScQuick *quick, Column *column, const ScMessage *message,
			ScQuickValue *value)
{
	if (column->def->kind == SC_COLUMN_METADATA)
		return read_metadata(quick, column, message, value);
	if (message->payload == NULL)
	{
		value->isnull = true;
		return true;
	}
	if (column->def->kind == SC_COLUMN_PAYLOAD)
		return read_payload(column, message, value);
	return read_member(column, value);
}

bool
sc_decode_quick(ScQuick *quick, const ScMessage *message, ScQuickValue *values)
{
	MemoryContext oldcx = CurrentMemoryContext;

	if (message->payload != NULL)
	{
		bool		sure;

		if (quick->stream->format == SC_FORMAT_JSON)
			sure = sc_decode_json_walk(quick->paths, message->payload, message->payload_len);
		else
			sure = is_text(message->payload, message->payload_len);
		if (!sure)
			return false;
	}
	if (quick->scratch != NULL)
	{
		MemoryContextReset(quick->scratch);
		MemoryContextSwitchTo(quick->scratch);
	}

	for (int i = 0; i < quick->ncolumns; i++)
	{
		Column	   *column = &quick->columns[i];
		ScQuickValue *value = &values[column->def->attnum - 1];

		value->isnull = false;
		value->doubt = !read_column(quick, column, message, value) ||
			(value->isnull && column->def->not_null);
	}
	MemoryContextSwitchTo(oldcx);
	return true;
}
