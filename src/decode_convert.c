/*-------------------------------------------------------------------------
 *
 * decode_convert.c
 *		A member's slice of the payload to a value of its column's type, as
 *		far as that is sure.
 *
 * A column is (payload ->> member)::type.  The plain forms of numbers, times
 * and words are read here; whatever else there may be is a doubt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "decode_convert.h"
#include "decode_escape.h"
#include "decode_number.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

bool
sc_decode_convert_can(Oid type)
{
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case FLOAT4OID:
		case NUMERICOID:
		case JSONBOID:
		case DATEOID:
			return true;
		case INT8OID:
		case FLOAT8OID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			/* else each value would take memory */
			return FLOAT8PASSBYVAL;
		default:
			return false;
	}
}

bool
sc_decode_convert_throws(Oid type)
{
	return type == NUMERICOID || type == JSONBOID;
}

void
sc_decode_convert_create(ScConvert *convert, const ScColumn *column, bool as_datum,
						 MemoryContext home)
{
	memset(convert, 0, sizeof(*convert));
	convert->column = column;
	convert->as_datum = as_datum;
	convert->home = home;
	if (column->type == TIMESTAMPOID || column->type == TIMESTAMPTZOID)
		sc_moment_quick_form(&convert->time, column);
}

/* Room for so many bytes behind a varlena's header, and for a final NUL */
static char *
buffer_for(ScConvert *convert, size_t len)
{
	size_t		wanted = VARHDRSZ + len + 1;

	if (wanted > convert->buffer_len)
	{
		size_t		grown = Max(wanted, Max(convert->buffer_len * 2, 256));

		if (convert->buffer != NULL)
			pfree(convert->buffer);
		convert->buffer = NULL;
		convert->buffer_len = 0;
		convert->buffer = MemoryContextAlloc(convert->home, grown);
		convert->buffer_len = grown;
	}
	return convert->buffer + VARHDRSZ;
}

/* A terminated copy, which may overlap what is in the buffer already */
static char *
buffer_string(ScConvert *convert, const char *bytes, size_t len)
{
	char	   *copy = convert->buffer ? convert->buffer + VARHDRSZ : NULL;

	if (bytes != copy)
	{
		copy = buffer_for(convert, len);
		memcpy(copy, bytes, len);
	}
	copy[len] = '\0';
	return copy;
}

/* The text that ->> gives, but for numbers, which are as they were written */
static bool
member_text(ScConvert *convert, const ScJsonValue *json, const char **text, size_t *len)
{
	*text = json->start;
	*len = json->len;
	switch (json->kind)
	{
		case SC_JSON_TRUE:
		case SC_JSON_FALSE:
		case SC_JSON_NUMBER:
			return true;
		case SC_JSON_STRING:
			if (json->escaped)
			{
				char	   *buffer = buffer_for(convert, json->len);

				*len = sc_decode_unescape(json->start, json->len, buffer);
				*text = buffer;
			}
			return true;
		default:
			return false;
	}
}

/* Does numeric print the number just as it is written here? */
static bool
prints_as_written(const ScJsonValue *json)
{
	if (json->kind != SC_JSON_NUMBER)
		return true;
	if (json->len >= 2 && json->start[0] == '-' && json->start[1] == '0')
		return false;			/* perhaps a zero, which has no sign then */
	return memchr(json->start, 'e', json->len) == NULL &&
		memchr(json->start, 'E', json->len) == NULL;
}

void
sc_decode_convert_bytes(ScConvert *convert, const char *bytes, size_t len,
						ScQuickValue *value)
{
	value->text = bytes;
	value->len = len;
	if (convert->as_datum)
	{
		value->text = buffer_string(convert, bytes, len);
		SET_VARSIZE(convert->buffer, VARHDRSZ + len);
		value->value = PointerGetDatum(convert->buffer);
	}
}

/* Is it within the n characters of varchar(n)?  Its bytes are seldom more. */
static bool
fits_varchar(int32 typmod, const char *text, size_t len)
{
	if (typmod < VARHDRSZ)
		return true;
	return len <= (size_t) (typmod - VARHDRSZ) ||
		pg_mbstrlen_with_len(text, (int) len) <= typmod - VARHDRSZ;
}

static bool
convert_bool(const char *text, size_t len, Datum *value)
{
	bool		is_true = (len == 4 && memcmp(text, "true", 4) == 0);

	*value = BoolGetDatum(is_true);
	return is_true || (len == 5 && memcmp(text, "false", 5) == 0);
}

/* By numeric's own input, which fails where the typmod asks too much */
static bool
convert_numeric(ScConvert *convert, const char *text, size_t len, Datum *value)
{
	if (sc_decode_number_end(text, text + len) != text + len)
		return false;
	*value = DirectFunctionCall3(numeric_in,
								 CStringGetDatum(buffer_string(convert, text, len)),
								 ObjectIdGetDatum(InvalidOid),
								 Int32GetDatum(convert->column->typmod));
	return true;
}

static void
convert_jsonb(ScConvert *convert, const ScJsonValue *json, Datum *value)
{
	int			quote = (json->kind == SC_JSON_STRING);
	char	   *text = buffer_string(convert, json->start - quote, json->len + 2 * quote);

	*value = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

/* All types whose values are no more than a Datum */
static bool
convert_word(ScConvert *convert, const char *text, size_t len, Datum *value)
{
	int64		integer = 0;
	double		float8 = 0;
	float		float4 = 0;
	DateADT		date = 0;
	bool		sure;

	switch (convert->column->type)
	{
		case BOOLOID:
			return convert_bool(text, len, value);
		case INT2OID:
			sure = sc_decode_number_int64(text, len, PG_INT16_MIN, PG_INT16_MAX,
										  &integer);
			*value = Int16GetDatum((int16) integer);
			return sure;
		case INT4OID:
			sure = sc_decode_number_int64(text, len, PG_INT32_MIN, PG_INT32_MAX,
										  &integer);
			*value = Int32GetDatum((int32) integer);
			return sure;
		case INT8OID:
			sure = sc_decode_number_int64(text, len, PG_INT64_MIN, PG_INT64_MAX,
										  &integer);
			*value = Int64GetDatum(integer);
			return sure;
		case FLOAT4OID:
			sure = sc_decode_number_float(text, len, &float4);
			*value = Float4GetDatum(float4);
			return sure;
		case FLOAT8OID:
			sure = sc_decode_number_double(text, len, &float8);
			*value = Float8GetDatum(float8);
			return sure;
		case DATEOID:
			sure = sc_moment_quick_date(text, len, &date);
			*value = DateADTGetDatum(date);
			return sure;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			sure = sc_moment_quick_time(&convert->time, text, len, &integer);
			*value = TimestampTzGetDatum(integer);
			return sure;
		default:
			return false;
	}
}

bool
sc_decode_convert(ScConvert *convert, const ScJsonValue *json, ScQuickValue *value)
{
	const ScColumn *column = convert->column;
	const char *text;
	size_t		len;

	value->isnull = (json->kind == SC_JSON_MISSING ||
					 (json->kind == SC_JSON_NULL && column->type != JSONBOID));
	if (value->isnull)
		return true;
	if (column->type == JSONBOID)
	{
		convert_jsonb(convert, json, &value->value);
		return true;
	}
	if (!member_text(convert, json, &text, &len))
		return false;

	switch (column->type)
	{
		case TEXTOID:
		case VARCHAROID:
			if (!prints_as_written(json) || !fits_varchar(column->typmod, text, len))
				return false;
			sc_decode_convert_bytes(convert, text, len, value);
			return true;
		case NUMERICOID:
			return convert_numeric(convert, text, len, &value->value);
		default:
			return convert_word(convert, text, len, &value->value);
	}
}
