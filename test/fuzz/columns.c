/*-------------------------------------------------------------------------
 *
 * columns.c
 *		A message read in both ways: what is sure must be right.
 *
 * decode_input.c asks the catalogs for a type's input function; there are none
 * here, so for the types that decode_quick.c knows, this file answers
 * (--wrap).  The input functions themselves are PostgreSQL's.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "catalog/pg_type.h"
#include "columns.h"
#include "decode.h"
#include "decode_quick.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

static const struct
{
	Oid			type;
	Oid			input;
	int16		len;
	bool		byval;
}			types[] =
{
	{TEXTOID, F_TEXTIN, -1, false},
	{VARCHAROID, F_VARCHARIN, -1, false},
	{BOOLOID, F_BOOLIN, 1, true},
	{INT2OID, F_INT2IN, 2, true},
	{INT4OID, F_INT4IN, 4, true},
	{INT8OID, F_INT8IN, 8, true},
	{FLOAT4OID, F_FLOAT4IN, 4, true},
	{FLOAT8OID, F_FLOAT8IN, 8, true},
	{NUMERICOID, F_NUMERIC_IN, -1, false},
	{JSONBOID, F_JSONB_IN, -1, false},
	{DATEOID, F_DATE_IN, 4, true},
	{TIMESTAMPOID, F_TIMESTAMP_IN, 8, true},
	{TIMESTAMPTZOID, F_TIMESTAMPTZ_IN, 8, true},
};

struct FuzzColumns
{
	ScStream	stream;
	ScDecoder  *decoder;
	ScQuick    *quick;
	ScQuickValue *values;
	MemoryContext cx;
};

/* What is read by decode.h, under a guard */
typedef struct Slow
{
	FuzzColumns *columns;
	const ScMessage *message;
	int			i;
	Datum		value;
	bool		isnull;
} Slow;

extern Oid	__wrap_getBaseType(Oid type);
extern void __wrap_getTypeInputInfo(Oid type, Oid *input, Oid *ioparam);
extern void __wrap_get_typlenbyval(Oid type, int16 *len, bool *byval);
extern bool __wrap_type_is_range(Oid type);
extern bool __wrap_type_is_multirange(Oid type);
extern Oid	__wrap_get_element_type(Oid type);

static int
type_index(Oid type)
{
	for (int i = 0; i < (int) lengthof(types); i++)
	{
		if (types[i].type == type)
			return i;
	}
	fuzz_fail("no type %u here", type);
}

Oid
__wrap_getBaseType(Oid type)
{
	return type;
}

void
__wrap_getTypeInputInfo(Oid type, Oid *input, Oid *ioparam)
{
	*input = types[type_index(type)].input;
	*ioparam = type;
}

void
__wrap_get_typlenbyval(Oid type, int16 *len, bool *byval)
{
	*len = types[type_index(type)].len;
	*byval = types[type_index(type)].byval;
}

bool
__wrap_type_is_range(Oid type)
{
	return false;
}

bool
__wrap_type_is_multirange(Oid type)
{
	return false;
}

Oid
__wrap_get_element_type(Oid type)
{
	return InvalidOid;
}

FuzzColumns *
fuzz_columns_create(ScFormat format, ScColumn *defs, int ndefs)
{
	FuzzColumns *columns = palloc0(sizeof(FuzzColumns));
	Bitmapset  *attnums = NULL;
	Bitmapset  *datums = NULL;

	for (int i = 0; i < ndefs; i++)
	{
		defs[i].attnum = i + 1;
		if (!sc_decode_quick_can(&defs[i]))
			fuzz_fail("no quick way for column \"%s\"", defs[i].name);
		attnums = bms_add_member(attnums, defs[i].attnum);
		/* texts are wanted as Datums, and as slices */
		if (i % 2 == 0)
			datums = bms_add_member(datums, defs[i].attnum);
	}
	columns->cx = AllocSetContextCreate(CurrentMemoryContext, "fuzz columns",
										ALLOCSET_DEFAULT_SIZES);
	columns->stream.name = "fuzz";
	columns->stream.topic = "fuzz";
	columns->stream.format = format;
	columns->stream.natts = columns->stream.ncolumns = ndefs;
	columns->stream.columns = defs;
	columns->decoder = sc_decode_create(&columns->stream, attnums, columns->cx);
	columns->quick = sc_decode_quick_create(&columns->stream, attnums, datums, columns->cx);
	columns->values = palloc0(sizeof(ScQuickValue) * ndefs);
	return columns;
}

static void
read_quick(void *arg)
{
	Slow	   *slow = arg;

	slow->isnull = !sc_decode_quick(slow->columns->quick, slow->message, slow->columns->values);
}

static void
read_payload(void *arg)
{
	Slow	   *slow = arg;

	sc_decode_payload(slow->columns->decoder, slow->message);
}

static void
read_column(void *arg)
{
	Slow	   *slow = arg;

	slow->value = sc_decode_column(slow->columns->decoder, slow->i, &slow->isnull);
}

static char *
jsonb_text(Datum value)
{
	Jsonb	   *json = DatumGetJsonbP(value);

	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/* What a user would see of a value, for a type that has several forms of it */
static bool
same_text(Oid type, Datum a, Datum b)
{
	if (type == JSONBOID)
		return strcmp(jsonb_text(a), jsonb_text(b)) == 0;
	if (type == NUMERICOID)
		return strcmp(DatumGetCString(DirectFunctionCall1(numeric_out, a)),
					  DatumGetCString(DirectFunctionCall1(numeric_out, b))) == 0;
	return false;
}

static void
compare_column(Slow *slow, const ScColumn *def, const ScQuickValue *quick)
{
	int			type = type_index(def->type);
	int			sqlerrcode = fuzz_guard(read_column, slow);

	if (sqlerrcode != 0)
		fuzz_fail("column \"%s\" is sure, and SQLSTATE %s", def->name,
				  unpack_sql_state(sqlerrcode));
	if (quick->isnull != slow->isnull)
		fuzz_fail("column \"%s\" is %s", def->name, slow->isnull ? "null" : "not null");
	if (quick->isnull)
		return;

	if (quick->text != NULL && (def->type == TEXTOID || def->type == VARCHAROID))
	{
		text	   *value = DatumGetTextPP(slow->value);

		if (quick->len != VARSIZE_ANY_EXHDR(value) ||
			memcmp(quick->text, VARDATA_ANY(value), quick->len) != 0)
			fuzz_fail("column \"%s\": \"%.*s\" is \"%s\"", def->name, (int) quick->len,
					  quick->text, text_to_cstring(value));
		if (quick->value == (Datum) 0)
			return;
	}
	if (!datumIsEqual(quick->value, slow->value, types[type].byval, types[type].len) &&
		!same_text(def->type, quick->value, slow->value))
		fuzz_fail("column \"%s\" differs: " UINT64_FORMAT ", " UINT64_FORMAT, def->name,
				  (uint64) quick->value, (uint64) slow->value);
}

bool
fuzz_columns_compare(FuzzColumns *columns, const char *payload, size_t len)
{
	ScMessage	message = {.partition = 3,.offset = 17,.payload = payload,.payload_len = len};
	Slow		slow = {.columns = columns,.message = &message};
	int			sqlerrcode;

	memset(columns->values, 0, sizeof(ScQuickValue) * columns->stream.ncolumns);

	/* an ERROR here is one more doubt */
	if (fuzz_guard(read_quick, &slow) != 0 || slow.isnull)
		return false;
	sqlerrcode = fuzz_guard(read_payload, &slow);
	if (sqlerrcode != 0)
		fuzz_fail("the payload is sure, and SQLSTATE %s", unpack_sql_state(sqlerrcode));
	for (int i = 0; i < columns->stream.ncolumns; i++)
	{
		slow.i = i;
		if (!columns->values[i].doubt)
			compare_column(&slow, &columns->stream.columns[i], &columns->values[i]);
	}
	sc_decode_forget(columns->decoder);
	return true;
}
