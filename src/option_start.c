/*-------------------------------------------------------------------------
 *
 * option_start.c
 *		Where a reading begins: the option "start".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "moment.h"
#include "option.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* An offset of {"0": 17}, where every number is a whole one. */
static int64
read_number(JsonbValue *value, const char *text)
{
	char	   *digits = NULL;
	char	   *end = NULL;
	int64		number = -1;

	if (value->type == jbvString)
		digits = pnstrdup(value->val.string.val, value->val.string.len);
	else if (value->type == jbvNumeric)
		digits = DatumGetCString(DirectFunctionCall1(numeric_out,
													 NumericGetDatum(value->val.numeric)));
	if (digits != NULL && digits[0] >= '0' && digits[0] <= '9')
	{
		errno = 0;
		number = strtoi64(digits, &end, 10);
		if (errno != 0 || *end != '\0')
			number = -1;
	}
	if (number < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", "start", text),
				 errhint("Write offsets as {\"partition\": offset, ...}.")));
	return number;
}

static void
parse_offsets(const char *text, ScStart *start)
{
	Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	JsonbIterator *it = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int64		partition = 0;

	start->kind = SC_START_OFFSETS;
	start->partitions = palloc(sizeof(int32) * Max(JB_ROOT_COUNT(object), 1));
	start->offsets = palloc(sizeof(int64) * Max(JB_ROOT_COUNT(object), 1));

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			partition = read_number(&value, text);
			if (partition > PG_INT32_MAX)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
						 errmsg("invalid value for option \"%s\": \"%s\"", "start", text),
						 errdetail("There is no partition " INT64_FORMAT ".", partition)));
		}
		else if (token == WJB_VALUE)
		{
			start->partitions[start->noffsets] = (int32) partition;
			start->offsets[start->noffsets++] = read_number(&value, text);
		}
	}
}

ScStart
sc_option_parse_start(const char *text)
{
	ScStart		start = {.kind = SC_START_EARLIEST};

	if (strcmp(text, "earliest") == 0)
		start.kind = SC_START_EARLIEST;
	else if (strcmp(text, "latest") == 0)
		start.kind = SC_START_LATEST;
	else if (text[0] == '{')
		parse_offsets(text, &start);
	else if (!isdigit((unsigned char) text[0]))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", "start", text),
				 errhint("Valid values are: earliest, latest, a timestamp such as "
						 "2014-09-21 13:05:00+00, or {\"partition\": offset, ...}.")));
	else
	{
		start.kind = SC_START_TIMESTAMP;
		start.timestamp_ms = sc_moment_parse_ms(text);
	}
	return start;
}
