/*-------------------------------------------------------------------------
 *
 * fuzz_option.c
 *		Any options of tables, columns, servers and user mappings.
 *
 * Options are taken, or refused by an ERROR that is the user's.  What was
 * taken can be read later, with the same meaning; and no name that is not
 * listed, and nothing that would weaken what is read, reaches librdkafka.
 *
 * The input: the catalog and the user, then names and values, each ended by a NUL.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "fmgr.h"
#include "guc.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "option.h"
#include "source.h"
#include "utils/array.h"
#include "utils/fmgroids.h"

/* The settings are in no pure room. */
int			sc_fetch_mem = 64 * 1024;

static const Oid catalogs[] = {
	ForeignTableRelationId, AttributeRelationId, ForeignServerRelationId, UserMappingRelationId,
};

/* What may never be set, whatever else is allowed */
static const char *const forbidden[] = {
	"plugin.library.paths", "sasl.kerberos.kinit.cmd", "ssl.engine.location", "ssl.providers",
	"offset.store.path", "sasl.oauthbearer.token.endpoint.url", "debug", "auto.offset.reset",
	"enable.auto.commit", "isolation.level", "group.id", "group.instance.id", "check.crcs",
	"enable.ssl.certificate.verification", "ssl.endpoint.identification.algorithm",
	"test.mock.num.brokers", "metadata.broker.list", "log_level", "builtin.features",
};

extern bool __wrap_superuser(void);
extern void __wrap_fmgr_info(Oid function, FmgrInfo *flinfo);
extern void __real_fmgr_info(Oid function, FmgrInfo *flinfo);

static bool as_superuser;

bool
__wrap_superuser(void)
{
	return as_superuser;
}

/* array_in() asks the catalogs, which are not here, for what it does not know. */
void
__wrap_fmgr_info(Oid function, FmgrInfo *flinfo)
{
	ArrayMetaState *known = palloc0(sizeof(ArrayMetaState));

	__real_fmgr_info(function, flinfo);
	known->element_type = TEXTOID;
	known->typlen = -1;
	known->typalign = TYPALIGN_INT;
	known->typdelim = ',';
	known->typioparam = TEXTOID;
	known->typiofunc = F_TEXTIN;
	__real_fmgr_info(F_TEXTIN, &known->proc);
	flinfo->fn_extra = known;
}

typedef struct Options
{
	List	   *list;
	Oid			catalog;
	ScStream	stream;
	ScColumn	column;
} Options;

static void
check(void *arg)
{
	Options    *options = arg;

	sc_option_check(options->list, options->catalog);
}

static void
read_table(void *arg)
{
	Options    *options = arg;

	memset(&options->stream, 0, sizeof(options->stream));
	sc_option_read_table(options->list, &options->stream);
}

static void
read_column(void *arg)
{
	Options    *options = arg;

	memset(&options->column, 0, sizeof(options->column));
	options->column.name = "column";
	sc_option_read_column(options->list, SC_FORMAT_JSON, &options->column);
}

static void
check_start(const ScStart *start)
{
	if (start->kind == SC_START_OFFSETS)
	{
		for (int i = 0; i < start->noffsets; i++)
		{
			if (start->partitions[i] < 0 || start->offsets[i] < 0)
				fuzz_fail("offset " INT64_FORMAT " of partition %d", start->offsets[i],
						  start->partitions[i]);
		}
	}
}

static bool
says(Options *options, const char *name, const char *word)
{
	const char *value = sc_option_value(options->list, name);

	return value != NULL && strcmp(value, word) == 0;
}

static void
check_table(Options *options)
{
	ScStream	first;

	if (fuzz_guard(read_table, options) != 0)
		fuzz_fail("options that were taken cannot be read");
	first = options->stream;
	if (fuzz_guard(read_table, options) != 0 ||
		first.format != options->stream.format || first.halt_on_error != options->stream.halt_on_error ||
		first.skip_gaps != options->stream.skip_gaps || first.reject_limit != options->stream.reject_limit ||
		first.start.kind != options->stream.start.kind ||
		first.start.timestamp_ms != options->stream.start.timestamp_ms ||
		first.start.noffsets != options->stream.start.noffsets ||
		strcmp(first.topic, options->stream.topic) != 0)
		fuzz_fail("options read twice differ");
	if (first.reject_limit < 0 || strlen(first.topic) > 249 || strchr(first.topic, '/') != NULL)
		fuzz_fail("topic \"%s\", limit %d", first.topic, first.reject_limit);
	if (first.halt_on_error != says(options, "on_error", "halt") || first.skip_gaps != says(options, "on_gap", "skip"))
		fuzz_fail("on_error or on_gap is read as what it does not say");
	check_start(&first.start);
}

static void
check_column(Options *options)
{
	if (fuzz_guard(read_column, options) != 0)
		fuzz_fail("options that were taken cannot be read");
	if (options->column.kind != SC_COLUMN_MEMBER)
		return;
	for (int i = 0; i < options->column.npath; i++)
	{
		if (options->column.path[i] == NULL)
			fuzz_fail("a path with a NULL");
	}
}

static void
check_properties(Options *options)
{
	ListCell   *lc;

	foreach(lc, options->list)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (!sc_source_property_allowed(def->defname,
										options->catalog == UserMappingRelationId))
			fuzz_fail("property \"%s\" was taken", def->defname);
		if (!as_superuser && strstr(def->defname, ".location") != NULL)
			fuzz_fail("property \"%s\" was taken of anybody", def->defname);
		for (int i = 0; i < (int) lengthof(forbidden); i++)
		{
			if (pg_strcasecmp(def->defname, forbidden[i]) == 0)
				fuzz_fail("property \"%s\" was taken", def->defname);
		}
	}
}

static void
one(const char *data, size_t len)
{
	FuzzBytes	bytes = {data, data + len};
	Options		options = {0};
	int			kind;

	kind = (int) fuzz_take(&bytes, 1);
	options.catalog = catalogs[kind % lengthof(catalogs)];
	as_superuser = (kind >= 128);
	while (bytes.p < bytes.end && list_length(options.list) < 8)
	{
		char	   *name = fuzz_take_string(&bytes);
		char	   *value = fuzz_take_string(&bytes);

		options.list = lappend(options.list, makeDefElem(name, (Node *) makeString(value), -1));
	}
	if (fuzz_guard(check, &options) != 0)
		return;

	if (options.catalog == ForeignTableRelationId)
		check_table(&options);
	else if (options.catalog == AttributeRelationId)
		check_column(&options);
	else
		check_properties(&options);
}

const FuzzTarget fuzz_option = {"option", NULL, one};
