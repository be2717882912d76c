/*-------------------------------------------------------------------------
 *
 * fuzz_decode_json.c
 *		Any bytes as a JSON payload.
 *
 * What decode_quick.c is sure of is what decode.c says.  Where both indexers
 * of tokens are built, the same payloads are sure by either.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "catalog/pg_type.h"
#include "columns.h"
#include "decode_index.h"

#define MEMBER(column_name, column_type, column_typmod, ...) \
	{.name = column_name, .type = column_type, .typmod = column_typmod, \
	 .kind = SC_COLUMN_MEMBER, \
	 .npath = lengthof(((char *[]) {__VA_ARGS__})), .path = (char *[]) {__VA_ARGS__}}

/* Each type that is read without an ERROR, and each way that a path may go */
static ScColumn members[] = {
	MEMBER("text", TEXTOID, -1, "text"),
	MEMBER("id_str", TEXTOID, -1, "id_str"),
	MEMBER("c", VARCHAROID, VARHDRSZ + 3, "c"),
	MEMBER("b", BOOLOID, -1, "b"),
	MEMBER("i2", INT2OID, -1, "i"),
	MEMBER("i4", INT4OID, -1, "i"),
	MEMBER("i8", INT8OID, -1, "id"),
	MEMBER("f4", FLOAT4OID, -1, "f"),
	MEMBER("f8", FLOAT8OID, -1, "f"),
	MEMBER("name", TEXTOID, -1, "user", "screen_name"),
	MEMBER("element", TEXTOID, -1, "entities", "0", "text"),
	MEMBER("created_at", TIMESTAMPTZOID, -1, "created_at"),
	MEMBER("d", DATEOID, -1, "d"),
	MEMBER("z", TIMESTAMPOID, 3, "d"),
	MEMBER("quoted", TEXTOID, -1, "a\"\\\n"),
	MEMBER("letter", TEXTOID, -1, "\xC3\xA9"),
};

/* Those whose ERROR is a doubt about the payload */
static ScColumn values[] = {
	MEMBER("n", NUMERICOID, -1, "n"),
	MEMBER("n2", NUMERICOID, VARHDRSZ + (6 << 16 | 2), "n"),
	MEMBER("j", JSONBOID, -1, "user"),
	MEMBER("deep", JSONBOID, -1, "user", "a", ""),
	MEMBER("negative", JSONBOID, -1, "list", "-1"),
};

/* The whole document, which is a scalar only where no other path is */
static ScColumn document[] = {
	{.name = "text",.type = TEXTOID,.typmod = -1,.kind = SC_COLUMN_MEMBER},
	{.name = "number",.type = FLOAT8OID,.typmod = -1,.kind = SC_COLUMN_MEMBER},
};

static ScColumn whole[] = {
	{.name = "document",.type = JSONBOID,.typmod = -1,.kind = SC_COLUMN_MEMBER},
};

static bool by_plain_index;
static FuzzColumns *readers[4];

#ifdef WITH_BOTH_INDEXES

extern const uint32_t *plain_index(const char *payload, size_t len, size_t *ntokens);
extern const uint32_t *simdjson_index(const char *payload, size_t len, size_t *ntokens);

/* What the rooms call */
const uint32_t *
sc_decode_index(const char *payload, size_t len, size_t *ntokens)
{
	return (by_plain_index ? plain_index : simdjson_index) (payload, len, ntokens);
}

#endif

static FuzzColumns *
create(ScColumn *columns, int ncolumns)
{
	for (int i = 0; i < ncolumns; i++)
		columns[i].time_zone = pg_tzset("UTC");
	return fuzz_columns_create(SC_FORMAT_JSON, columns, ncolumns);
}

static void
start(void)
{
	readers[0] = create(members, lengthof(members));
	readers[1] = create(values, lengthof(values));
	readers[2] = create(document, lengthof(document));
	readers[3] = create(whole, lengthof(whole));
}

static void
one(const char *data, size_t len)
{
	for (int i = 0; i < (int) lengthof(readers); i++)
	{
		bool		sure pg_attribute_unused();

		by_plain_index = false;
		sure = fuzz_columns_compare(readers[i], data, len);
#ifdef WITH_BOTH_INDEXES
		by_plain_index = true;
		if (fuzz_columns_compare(readers[i], data, len) != sure)
			fuzz_fail("%s index alone lets a payload be sure", sure ? "simdjson's" : "the plain");
#endif
	}
}

const FuzzTarget fuzz_decode_json = {"decode_json", start, one};
