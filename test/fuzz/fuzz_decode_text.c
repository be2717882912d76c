/*-------------------------------------------------------------------------
 *
 * fuzz_decode_text.c
 *		Any bytes as the text of a number, a word or a time.
 *
 * What decode_quick.c is sure of is what the type's input function says, in
 * any form of time and any time zone.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "catalog/pg_type.h"
#include "columns.h"

static const char *const zones[] = {"UTC", "Europe/Berlin", "America/New_York", "Etc/GMT-9"};
static const Oid words[] = {
	BOOLOID, INT2OID, INT4OID, INT8OID, FLOAT4OID, FLOAT8OID, DATEOID, TEXTOID, VARCHAROID,
};
static const Oid numeric[] = {NUMERICOID};
static const int32 typmods[] = {-1, 0, 3};

#define NFORMATS (SC_TIME_TWITTER + 1)

/*
 * Words; numeric alone, whose ERROR is a doubt about the payload; then for
 * each zone the times of each form, type and typmod.
 */
static FuzzColumns *readers[2 + lengthof(zones)];

static FuzzColumns *
create_words(const Oid *types, int ntypes)
{
	ScColumn   *columns = palloc0(sizeof(ScColumn) * ntypes);

	for (int i = 0; i < ntypes; i++)
	{
		columns[i].name = psprintf("type %u", types[i]);
		columns[i].type = types[i];
		columns[i].typmod = types[i] == VARCHAROID ? VARHDRSZ + 5 : -1;
		columns[i].kind = SC_COLUMN_PAYLOAD;
		columns[i].time_zone = pg_tzset("UTC");
	}
	return fuzz_columns_create(SC_FORMAT_TEXT, columns, ntypes);
}

static FuzzColumns *
create_times(const char *zone)
{
	ScColumn   *columns = palloc0(sizeof(ScColumn) * NFORMATS * 2 * lengthof(typmods));
	ScColumn   *column = columns;

	for (int format = 0; format < NFORMATS; format++)
	{
		for (int local = 0; local < 2; local++)
		{
			for (int i = 0; i < (int) lengthof(typmods); i++)
			{
				column->name = psprintf("format %d, %s(%d) in %s", format,
										local ? "timestamp" : "timestamptz", typmods[i], zone);
				column->type = local ? TIMESTAMPOID : TIMESTAMPTZOID;
				column->typmod = typmods[i];
				column->kind = SC_COLUMN_PAYLOAD;
				column->time_format = format;
				column->time_zone = pg_tzset(zone);
				column++;
			}
		}
	}
	return fuzz_columns_create(SC_FORMAT_TEXT, columns, (int) (column - columns));
}

static void
start(void)
{
	readers[0] = create_words(words, lengthof(words));
	readers[1] = create_words(numeric, lengthof(numeric));
	for (int i = 0; i < (int) lengthof(zones); i++)
		readers[2 + i] = create_times(zones[i]);
}

static void
one(const char *data, size_t len)
{
	for (int i = 0; i < (int) lengthof(readers); i++)
		fuzz_columns_compare(readers[i], data, len);
}

const FuzzTarget fuzz_decode_text = {"decode_text", start, one};
