/*-------------------------------------------------------------------------
 *
 * decode_input.c
 *		A text to a value of its column's type, read alike in every session.
 *
 * It is read by the type's own input function, or as the column's time_format
 * says.  What a session may set, such as DateStyle, is fixed for that long, and
 * words that mean another time at another moment are refused: a message that is
 * read again gives the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "moment.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "decode_input.h"

/*
 * Does the type's text have times in it?  Composite types are not looked
 * into: their other fields may hold any words.
 */
static bool
type_is_time(Oid type)
{
	Oid			inner;

	type = getBaseType(type);
	switch (type)
	{
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return true;
		default:
			break;
	}

	if (type_is_multirange(type))
		return type_is_time(get_multirange_range(type));
	if (type_is_range(type))
		return type_is_time(get_range_subtype(type));
	inner = get_element_type(type);
	return OidIsValid(inner) && type_is_time(inner);
}

/* The types whose input reads no setting, and which most columns have */
static bool
type_needs_no_settings(Oid type)
{
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case UUIDOID:
		case JSONOID:
		case JSONBOID:
			return true;
		default:
			return false;
	}
}

void
sc_decode_input_create(ScInput *input, const ScColumn *column, MemoryContext home)
{
	Oid			function;

	input->column = column;
	getTypeInputInfo(column->type, &function, &input->ioparam);
	fmgr_info_cxt(function, &input->function, home);
	input->is_time = type_is_time(column->type);
	input->by_settings = !type_needs_no_settings(column->type);
}

/* A type's own input function, read alike in every session */
static Datum
call_function(ScInput *input, char *text)
{
	ScTimeSettings saved;
	volatile Datum value = (Datum) 0;

	if (input->is_time && text != NULL)
		sc_moment_refuse_clock(text);
	if (!input->by_settings)
		return InputFunctionCall(&input->function, text, input->ioparam,
								 input->column->typmod);

	sc_moment_fix(input->column->time_zone, &saved);
	PG_TRY();
	{
		value = InputFunctionCall(&input->function, text, input->ioparam,
								  input->column->typmod);
	}
	PG_FINALLY();
	{
		sc_moment_restore(&saved);
	}
	PG_END_TRY();
	return value;
}

/* A timestamp of a numeric format, as the column's type has it */
static Datum
epoch_value(const ScColumn *column, const char *text)
{
	TimestampTz value = sc_moment_from_epoch(text, column->time_format);

	if (column->type == TIMESTAMPOID)
		value = sc_moment_to_local(value, column->time_zone);

	/* both types are rounded alike */
	return DirectFunctionCall2(timestamptz_scale, TimestampTzGetDatum(value),
							   Int32GetDatum(column->typmod));
}

Datum
sc_decode_input(ScInput *input, char *text)
{
	if (text != NULL)
	{
		switch (input->column->time_format)
		{
			case SC_TIME_EPOCH_S:
			case SC_TIME_EPOCH_MS:
				return epoch_value(input->column, text);
			case SC_TIME_TWITTER:
				sc_moment_check_twitter(text);
				break;
			case SC_TIME_ISO8601:
				break;
		}
	}
	return call_function(input, text);
}
