/*-------------------------------------------------------------------------
 *
 * option.c
 *		The options of streams, and what their values mean.
 *
 * The same code reads an option when it is given and when it is used, so
 * that nothing which was taken can be refused later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "common/string.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "option.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* One word that an option may have, and its meaning. */
typedef struct Word
{
	const char *name;
	int			value;
} Word;

static const Word format_words[] = {
	{"json", SC_FORMAT_JSON},
	{"text", SC_FORMAT_TEXT},
	{NULL, 0}
};

static const Word on_error_words[] = {
	{"reject", false},
	{"halt", true},
	{NULL, 0}
};

static const Word on_gap_words[] = {
	{"halt", false},
	{"skip", true},
	{NULL, 0}
};

static const Word column_on_error_words[] = {
	{"null", true},
	{NULL, 0}
};

static const Word metadata_words[] = {
	{"topic", SC_META_TOPIC},
	{"partition", SC_META_PARTITION},
	{"offset", SC_META_OFFSET},
	{"timestamp", SC_META_TIMESTAMP},
	{"key", SC_META_KEY},
	{"headers", SC_META_HEADERS},
	{"value", SC_META_VALUE},
	{NULL, 0}
};

static const Word time_format_words[] = {
	{"iso8601", SC_TIME_ISO8601},
	{"epoch_s", SC_TIME_EPOCH_S},
	{"epoch_ms", SC_TIME_EPOCH_MS},
	{"twitter", SC_TIME_TWITTER},
	{NULL, 0}
};

const char *
sc_option_value(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

/* The meaning of an option's word; fallback where the option is not given. */
static int
read_word(List *options, const char *name, const Word *words, int fallback)
{
	const char *value = sc_option_value(options, name);
	StringInfoData hint;

	if (value == NULL)
		return fallback;
	for (const Word *word = words; word->name; word++)
	{
		if (strcmp(word->name, value) == 0)
			return word->value;
	}

	initStringInfo(&hint);
	for (const Word *word = words; word->name; word++)
		appendStringInfo(&hint, "%s%s", word == words ? "" : ", ", word->name);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
			 errhint("Valid values are: %s.", hint.data)));
	return fallback;			/* keep compiler quiet */
}

static const char *
word_name(const Word *words, int value)
{
	for (const Word *word = words; word->name; word++)
	{
		if (word->value == value)
			return word->name;
	}
	elog(ERROR, "unrecognized option value: %d", value);
	return NULL;				/* keep compiler quiet */
}

const char *
sc_option_format_name(ScFormat format)
{
	return word_name(format_words, format);
}

const char *
sc_option_metadata_name(ScMetadata metadata)
{
	return word_name(metadata_words, metadata);
}

const char *
sc_option_time_format_name(ScTimeFormat format)
{
	return word_name(time_format_words, format);
}

/* Errors of PostgreSQL's own input functions do not know of options. */
static void
option_context(void *arg)
{
	errcontext("option \"%s\"", (const char *) arg);
}

static void
enter_option(ErrorContextCallback *context, const char *name)
{
	context->callback = option_context;
	context->arg = unconstify(char *, name);
	context->previous = error_context_stack;
	error_context_stack = context;
}

static void
leave_option(const ErrorContextCallback *context)
{
	error_context_stack = context->previous;
}

static int
read_reject_limit(List *options)
{
	const char *value = sc_option_value(options, "reject_limit");
	char	   *end;
	int			limit;

	if (value == NULL)
		return SC_DEFAULT_REJECT_LIMIT;
	errno = 0;
	limit = strtoint(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || limit < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", "reject_limit", value),
				 errhint("Valid values are whole numbers from 0, which sets no limit, to %d.",
						 PG_INT32_MAX)));
	return limit;
}

/* Kafka's rule for the names of topics. */
static void
check_topic(const char *topic)
{
	size_t		len = strlen(topic);

	if (len == 0 || len > 249 ||
		strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len ||
		strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", "topic", topic),
				 errhint("A topic's name has 1 to 249 letters, digits, \".\", \"_\" and \"-\".")));
}

void
sc_option_read_table(List *options, ScStream *stream)
{
	const char *topic = sc_option_value(options, "topic");
	const char *start = sc_option_value(options, "start");
	ErrorContextCallback context;

	if (topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"%s\" is required for a stream", "topic"),
				 errhint("Add OPTIONS (topic '...').")));
	check_topic(topic);
	stream->topic = pstrdup(topic);

	enter_option(&context, "start");
	stream->start = sc_option_parse_start(start ? start : "earliest");
	leave_option(&context);

	stream->format = read_word(options, "format", format_words, SC_FORMAT_JSON);
	stream->halt_on_error = read_word(options, "on_error", on_error_words, false);
	stream->reject_limit = read_reject_limit(options);
	stream->skip_gaps = read_word(options, "on_gap", on_gap_words, false);
}

/* '{a,"b.c"}': PostgreSQL's own text of an array */
static void
read_path_array(const char *path, ScColumn *column)
{
	ErrorContextCallback context;
	Datum		array;
	Datum	   *elems;
	bool	   *nulls;
	FmgrInfo	flinfo;

	/* array_in() keeps the element type's facts in the FmgrInfo */
	fmgr_info(F_ARRAY_IN, &flinfo);
	enter_option(&context, "path");
	array = FunctionCall3(&flinfo, CStringGetDatum(path),
						  ObjectIdGetDatum(TEXTOID), Int32GetDatum(-1));
	leave_option(&context);

	if (ARR_NDIM(DatumGetArrayTypeP(array)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", "path", path),
				 errdetail("A path has one dimension.")));
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, &column->npath);

	column->path = palloc(sizeof(char *) * Max(column->npath, 1));
	for (int i = 0; i < column->npath; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
					 errmsg("invalid value for option \"%s\": \"%s\"", "path", path),
					 errdetail("A member of a path cannot be NULL.")));
		column->path[i] = TextDatumGetCString(elems[i]);
	}
}

/* 'user.screen_name' */
static void
read_path_dotted(const char *text, ScColumn *column)
{
	char	   *rest = pstrdup(text);
	int			nparts = 1;

	for (const char *p = text; *p; p++)
		nparts += (*p == '.');

	column->path = palloc(sizeof(char *) * nparts);
	column->npath = 0;
	while (rest != NULL)
	{
		char	   *part = rest;

		rest = strchr(rest, '.');
		if (rest != NULL)
			*rest++ = '\0';
		if (*part == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
					 errmsg("invalid value for option \"%s\": \"%s\"", "path", text),
					 errhint("Write names that are empty or have dots as an array: '{a,b.c}'.")));
		column->path[column->npath++] = part;
	}
}

static void
read_path(const char *path, ScColumn *column)
{
	if (path == NULL)
	{
		column->path = palloc(sizeof(char *));
		column->path[0] = pstrdup(column->name);
		column->npath = 1;
	}
	else if (path[0] == '\0')
		column->npath = 0;
	else if (path[0] == '{')
		read_path_array(path, column);
	else
		read_path_dotted(path, column);
}

static pg_tz *
read_time_zone(List *options)
{
	const char *name = sc_option_value(options, "time_zone");
	pg_tz	   *zone = pg_tzset(name ? name : "UTC");

	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", "time_zone", name),
				 errhint("The view pg_timezone_names lists the names of time zones.")));
	return zone;
}

/* Options that exclude each other */
static void
refuse_both(List *options, const char *name, const char *other)
{
	if (sc_option_value(options, name) && sc_option_value(options, other))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" cannot be used with option \"%s\"", name, other)));
}

void
sc_option_read_column(List *options, ScFormat format, ScColumn *column)
{
	refuse_both(options, "path", "metadata");
	refuse_both(options, "time_format", "metadata");
	refuse_both(options, "time_zone", "metadata");

	column->time_format = read_word(options, "time_format", time_format_words, SC_TIME_ISO8601);
	column->time_zone = read_time_zone(options);
	column->null_on_error = read_word(options, "on_error", column_on_error_words, false);

	if (sc_option_value(options, "metadata"))
	{
		column->kind = SC_COLUMN_METADATA;
		column->metadata = read_word(options, "metadata", metadata_words, SC_META_TOPIC);
	}
	else if (format == SC_FORMAT_TEXT)
		column->kind = SC_COLUMN_PAYLOAD;
	else
	{
		column->kind = SC_COLUMN_MEMBER;
		read_path(sc_option_value(options, "path"), column);
	}
}
