/*-------------------------------------------------------------------------
 *
 * option_check.c
 *		Which options an object may have, and who may give them.
 *
 * Topics and columns have options of our own; servers and user mappings have
 * librdkafka's properties, of which source lists those that may be set.  What
 * is secret stands in user mappings alone, since everybody can read the options
 * of a server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "option.h"
#include "source.h"

static const char *const table_options[] = {
	"topic", "format", "start", "on_error", "reject_limit", "on_gap", NULL
};

static const char *const column_options[] = {
	"path", "metadata", "time_format", "time_zone", "on_error", NULL
};

static void
refuse_name(const char *name, const char *valid)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 valid[0] != '\0' ? errhint("Valid options are: %s.", valid) :
			 errhint("There are no valid options here.")));
}

static void
check_names(List *options, const char *const *names)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		const char *name = lfirst_node(DefElem, lc)->defname;
		StringInfoData valid;
		int			i = 0;

		while (names[i] && strcmp(names[i], name) != 0)
			i++;
		if (names[i])
			continue;

		initStringInfo(&valid);
		for (i = 0; names[i]; i++)
			appendStringInfo(&valid, "%s%s", i == 0 ? "" : ", ", names[i]);
		refuse_name(name, valid.data);
	}
}

static void
check_property(DefElem *def, bool secret)
{
	char	   *reason;

	if (!sc_source_property_allowed(def->defname, secret))
	{
		if (!secret && sc_source_property_allowed(def->defname, true))
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" is not allowed for a server", def->defname),
					 errdetail("Everybody can read the options of a server."),
					 errhint("Use CREATE USER MAPPING.")));
		refuse_name(def->defname, sc_source_property_list(secret));
	}

	/* the server process reads it with its own rights */
	if (sc_source_property_is_file(def->defname) && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", def->defname),
				 errdetail("Only superusers may set options that name files.")));

	reason = sc_source_check_property(def->defname, defGetString(def));
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\"", def->defname),
				 errdetail_internal("%s", reason)));
}

/* What servers must be told of when they are made, not when they are used */
static void
warn_of_mechanism(int n, const ScProperty *properties)
{
	const char *mechanism = sc_source_outdated_mechanism(n, properties);

	if (mechanism != NULL)
		ereport(WARNING,
				(errmsg("librdkafka %s cannot log in to Kafka 4 by %s",
						sc_source_library_version(), mechanism),
				 errdetail("Brokers of that version refuse it with the right password."),
				 errhint("Use librdkafka 2.6.1 or later, SASL/PLAIN over TLS, or client certificates.")));
}

static void
check_properties(List *options, bool secret)
{
	ScProperty *properties = palloc(sizeof(ScProperty) * Max(list_length(options), 1));
	int			nproperties = 0;
	char	   *reason;
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		check_property(def, secret);
		properties[nproperties].name = def->defname;
		properties[nproperties++].value = defGetString(def);
	}

	/* a user mapping alone need not make sense */
	if (secret)
		return;
	reason = sc_source_check_properties(nproperties, properties);
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("options do not go together"),
				 errdetail_internal("%s", reason)));
	warn_of_mechanism(nproperties, properties);
}

void
sc_option_check(List *options, Oid catalog)
{
	static const char *const no_options[] = {NULL};
	ScStream	stream = {0};
	ScColumn	column = {.name = ""};

	switch (catalog)
	{
		case ForeignTableRelationId:
			check_names(options, table_options);
			sc_option_read_table(options, &stream);
			break;
		case AttributeRelationId:
			check_names(options, column_options);
			sc_option_read_column(options, SC_FORMAT_JSON, &column);
			break;
		case ForeignServerRelationId:
			check_properties(options, false);
			break;
		case UserMappingRelationId:
			check_properties(options, true);
			break;
		default:
			check_names(options, no_options);
	}
}
