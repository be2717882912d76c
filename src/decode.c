/*-------------------------------------------------------------------------
 *
 * decode.c
 *		Payload bytes to the columns that the rollups need.
 *
 * PostgreSQL's own jsonb is the judge of JSON, and a column is
 * (payload #>> path)::type by the type's own input function: a stream reads
 * just what the same expression gives over a table of payloads.
 *
 * Guarantee: what is wrong with a message is an ERROR of class 22, 23 or 54,
 * and nothing of it stays behind.
 * Owns: scratch, which holds one message's parsed payload and all that the
 * input functions leave lying about.  It does not belong to the caller's
 * subtransaction, so a column that fails costs the others nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/string.h"
#include "decode.h"
#include "decode_input.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* How often a missing member is looked for under another case. */
#define CASE_LOOKS	1000

typedef struct Column
{
	const ScColumn *def;
	ScInput		input;
	int16		len;
	bool		byval;
	bool		is_json;		/* the member itself, not its text */
	int			case_looks;		/* still to do */
	bool		have_default;
	Datum		default_value;
	bool		default_isnull;
} Column;

struct ScDecoder
{
	const ScStream *stream;
	MemoryContext home;
	MemoryContext scratch;		/* reset for each message */
	int			ncolumns;
	Column	   *columns;
	const ScMessage *message;	/* the one in hand */
	char	   *text;			/* its verified payload; NULL: a tombstone */
	Jsonb	   *json;			/* format json: its payload */
};

/* Streams of which this process has warned that a member's case differs. */
static List *warned_streams = NIL;

static void
init_column(ScDecoder *decoder, Column *column, const ScColumn *def)
{
	Oid			base = getBaseType(def->type);

	column->def = def;
	sc_decode_input_create(&column->input, def, decoder->home);
	get_typlenbyval(def->type, &column->len, &column->byval);
	column->is_json = (base == JSONBOID || base == JSONOID);

	/* a path of the user's own is spelled as it is meant */
	if (def->kind == SC_COLUMN_MEMBER && def->npath == 1 &&
		strcmp(def->path[0], def->name) == 0)
		column->case_looks = CASE_LOOKS;
}

ScDecoder *
sc_decode_create(const ScStream *stream, const Bitmapset *attnums, MemoryContext cx)
{
	MemoryContext oldcx = MemoryContextSwitchTo(cx);
	ScDecoder  *decoder = palloc0(sizeof(ScDecoder));

	decoder->stream = stream;
	decoder->home = cx;
	decoder->scratch = AllocSetContextCreate(cx, "streamcount decode",
											 ALLOCSET_DEFAULT_SIZES);
	decoder->columns = palloc0(sizeof(Column) * Max(stream->ncolumns, 1));
	for (int i = 0; i < stream->ncolumns; i++)
	{
		if (bms_is_member(stream->columns[i].attnum, attnums))
			init_column(decoder, &decoder->columns[decoder->ncolumns++],
						&stream->columns[i]);
	}

	MemoryContextSwitchTo(oldcx);
	return decoder;
}

int
sc_decode_ncolumns(const ScDecoder *decoder)
{
	return decoder->ncolumns;
}

const ScColumn *
sc_decode_column_of(const ScDecoder *decoder, int i)
{
	return decoder->columns[i].def;
}

void
sc_decode_forget(ScDecoder *decoder)
{
	MemoryContextReset(decoder->scratch);
	decoder->message = NULL;
	decoder->text = NULL;
	decoder->json = NULL;
}

void
sc_decode_payload(ScDecoder *decoder, const ScMessage *message)
{
	MemoryContext oldcx;

	sc_decode_forget(decoder);
	decoder->message = message;
	if (message->payload == NULL)
		return;

	if (message->payload_len >= MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("payload of %zu bytes is too long", message->payload_len)));

	/* finds NUL bytes, too */
	(void) pg_verify_mbstr(PG_UTF8, message->payload, (int) message->payload_len, false);

	oldcx = MemoryContextSwitchTo(decoder->scratch);
	decoder->text = pnstrdup(message->payload, message->payload_len);
	if (decoder->stream->format == SC_FORMAT_JSON)
		decoder->json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														   CStringGetDatum(decoder->text)));
	MemoryContextSwitchTo(oldcx);
}

/* As PostgreSQL's #> reads an element of a path: negative ones from the end */
static JsonbValue *
find_element(JsonbContainer *array, const char *index)
{
	char	   *end;
	int			i;
	int			n = JsonContainerSize(array);

	errno = 0;
	i = strtoint(index, &end, 10);
	if (end == index || *end != '\0' || errno != 0)
		return NULL;
	if (i < 0)
	{
		if (i == PG_INT32_MIN || -i > n)
			return NULL;
		i += n;
	}
	return getIthJsonbValueFromContainer(array, i);
}

/* The value at a path, or NULL where there is none */
static JsonbValue *
find_member(Jsonb *json, int npath, char *const *path)
{
	JsonbContainer *container = &json->root;
	JsonbValue *value = NULL;

	if (npath == 0 && JB_ROOT_IS_SCALAR(json))
		return getIthJsonbValueFromContainer(container, 0);
	if (npath == 0)
	{
		value = palloc(sizeof(JsonbValue));
		value->type = jbvBinary;
		value->val.binary.data = container;
		value->val.binary.len = VARSIZE(json) - VARHDRSZ;
		return value;
	}

	for (int i = 0; i < npath; i++)
	{
		if (i > 0)
		{
			if (value->type != jbvBinary)
				return NULL;
			container = value->val.binary.data;
		}
		if (JsonContainerIsObject(container))
			value = getKeyJsonValueFromContainer(container, path[i], strlen(path[i]), NULL);
		else if (JsonContainerIsArray(container) && !JsonContainerIsScalar(container))
			value = find_element(container, path[i]);
		else
			value = NULL;
		if (value == NULL)
			return NULL;
	}
	return value;
}

/* The text that ->> gives, or NULL for JSON null */
static char *
member_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	}
}

/*
 * One warning a stream and process, for a producer that writes userName
 * would draw one a message.
 */
static void
look_for_other_case(ScDecoder *decoder, Column *column)
{
	const char *name = column->def->name;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	MemoryContext oldcx;

	column->case_looks--;
	if (!JB_ROOT_IS_OBJECT(decoder->json) ||
		list_member_oid(warned_streams, decoder->stream->relid))
		return;

	it = JsonbIteratorInit(&decoder->json->root);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (token == WJB_KEY && (size_t) key.val.string.len == strlen(name) &&
			pg_strncasecmp(key.val.string.val, name, key.val.string.len) == 0)
			break;
	}
	if (token == WJB_DONE)
		return;

	oldcx = MemoryContextSwitchTo(TopMemoryContext);
	warned_streams = lappend_oid(warned_streams, decoder->stream->relid);
	MemoryContextSwitchTo(oldcx);
	ereport(WARNING,
			(errmsg("messages of stream %s have a member \"%.*s\", but column \"%s\" reads \"%s\"",
					decoder->stream->name, key.val.string.len, key.val.string.val, name, name),
			 errhint("Set the column's option \"path\" to the member's name.")));
}

/* What a missing member stands for; evaluated when it is first needed */
static Datum
default_value(ScDecoder *decoder, Column *column, bool *isnull)
{
	const ScColumn *def = column->def;

	if (!column->have_default)
	{
		MemoryContext oldcx = MemoryContextSwitchTo(decoder->home);
		Expr	   *expr = evaluate_expr((Expr *) def->default_expr, def->type,
										 def->typmod, def->collation);

		column->default_value = castNode(Const, expr)->constvalue;
		column->default_isnull = castNode(Const, expr)->constisnull;
		column->have_default = true;
		MemoryContextSwitchTo(oldcx);
	}
	*isnull = column->default_isnull;
	return column->default_value;
}

static Datum
member_value(ScDecoder *decoder, Column *column, bool *isnull)
{
	const ScColumn *def = column->def;
	JsonbValue *value;
	char	   *text;

	value = find_member(decoder->json, def->npath, def->path);
	if (value == NULL && column->case_looks > 0)
		look_for_other_case(decoder, column);
	if (value == NULL && def->default_expr != NULL)
		return default_value(decoder, column, isnull);

	if (value != NULL && def->type == JSONBOID)
		return JsonbPGetDatum(JsonbValueToJsonb(value));
	if (value == NULL)
		text = NULL;
	else if (column->is_json)
	{
		Jsonb	   *json = JsonbValueToJsonb(value);

		text = JsonbToCString(NULL, &json->root, VARSIZE(json));
	}
	else
		text = member_text(value);

	*isnull = (text == NULL);
	return sc_decode_input(&column->input, text);
}

static Datum
column_value(ScDecoder *decoder, Column *column, bool *isnull)
{
	*isnull = false;
	if (column->def->kind == SC_COLUMN_METADATA)
		return sc_decode_metadata(decoder->stream, column->def, decoder->message, isnull);
	if (decoder->message->payload == NULL)
	{
		*isnull = true;
		return sc_decode_input(&column->input, NULL);
	}
	if (column->def->kind == SC_COLUMN_PAYLOAD)
		return sc_decode_input(&column->input, decoder->text);
	return member_value(decoder, column, isnull);
}

Datum
sc_decode_column(ScDecoder *decoder, int i, bool *isnull)
{
	Column	   *column = &decoder->columns[i];
	MemoryContext oldcx = MemoryContextSwitchTo(decoder->scratch);
	Datum		value = column_value(decoder, column, isnull);

	if (*isnull && column->def->not_null)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column \"%s\" of stream %s violates not-null constraint",
						column->def->name, decoder->stream->name)));

	MemoryContextSwitchTo(oldcx);
	if (*isnull)
		return (Datum) 0;
	return datumCopy(value, column->byval, column->len);
}
