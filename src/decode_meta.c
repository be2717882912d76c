/*-------------------------------------------------------------------------
 *
 * decode_meta.c
 *		What Kafka says of a message, as columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "decode.h"
#include "mb/pg_wchar.h"
#include "moment.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static Datum
bytes_value(const char *bytes, size_t len)
{
	bytea	   *value;

	if (len > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value of %zu bytes is too long", len)));
	value = palloc(VARHDRSZ + len);
	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), bytes, len);
	return PointerGetDatum(value);
}

static Datum
key_value(const ScMessage *message, Oid type)
{
	Datum		value = bytes_value(message->key, message->key_len);

	/* text and bytea have the same form */
	if (type == TEXTOID)
		(void) pg_verify_mbstr(PG_UTF8, message->key, (int) message->key_len, false);
	return value;
}

/* Bytes as a JSON string: themselves, or \x... where they are no text */
static JsonbValue
json_string(const char *bytes, size_t len)
{
	JsonbValue	value;

	if (len > MaxAllocSize / 4)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("header of %zu bytes is too long", len)));

	value.type = jbvString;
	if (pg_verify_mbstr(PG_UTF8, bytes, (int) len, true))
	{
		value.val.string.val = unconstify(char *, bytes);
		value.val.string.len = (int) len;
	}
	else
	{
		char	   *hex = palloc(2 + 2 * len);

		hex[0] = '\\';
		hex[1] = 'x';
		value.val.string.val = hex;
		value.val.string.len = 2 + (int) hex_encode(bytes, len, hex + 2);
	}
	return value;
}

/* Of headers with the same name the last one wins, as in any jsonb object. */
Datum
sc_decode_headers(const ScMessage *message)
{
	JsonbParseState *state = NULL;
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < message->nheaders; i++)
	{
		const ScHeader *header = &message->headers[i];
		JsonbValue	name = json_string(header->name, strlen(header->name));
		JsonbValue	value = {.type = jbvNull};

		if (header->value != NULL)
			value = json_string(header->value, header->value_len);
		pushJsonbValue(&state, WJB_KEY, &name);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(object));
}

Datum
sc_decode_metadata(const ScStream *stream, const ScColumn *column,
				   const ScMessage *message, bool *isnull)
{
	*isnull = false;
	switch (column->metadata)
	{
		case SC_META_TOPIC:
			return CStringGetTextDatum(stream->topic);
		case SC_META_PARTITION:
			return Int32GetDatum(message->partition);
		case SC_META_OFFSET:
			return Int64GetDatum(message->offset);
		case SC_META_HEADERS:
			return sc_decode_headers(message);
		case SC_META_TIMESTAMP:
			if (message->timestamp_ms != -1)
				return TimestampTzGetDatum(sc_moment_from_kafka(message->timestamp_ms));
			break;
		case SC_META_KEY:
			if (message->key != NULL)
				return key_value(message, column->type);
			break;
		case SC_META_VALUE:
			if (message->payload != NULL)
				return bytes_value(message->payload, message->payload_len);
			break;
	}
	*isnull = true;
	return (Datum) 0;
}
