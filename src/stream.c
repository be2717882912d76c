/*-------------------------------------------------------------------------
 *
 * stream.c
 *		The definition of a stream, read from PostgreSQL's catalogs.
 *
 * There is no table of streams: a foreign table, its columns and their
 * options say everything, and PostgreSQL keeps, dumps and protects them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "guc.h"
#include "identity.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "option.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "stream.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

/* The types that a metadata column may have; the second one is optional. */
static const Oid metadata_types[][2] = {
	[SC_META_TOPIC] = {TEXTOID, InvalidOid},
	[SC_META_PARTITION] = {INT4OID, InvalidOid},
	[SC_META_OFFSET] = {INT8OID, InvalidOid},
	[SC_META_TIMESTAMP] = {TIMESTAMPTZOID, InvalidOid},
	[SC_META_KEY] = {BYTEAOID, TEXTOID},
	[SC_META_HEADERS] = {JSONBOID, InvalidOid},
	[SC_META_VALUE] = {BYTEAOID, InvalidOid},
};

bool
sc_stream_is_our_wrapper(Oid fdwid)
{
	/* by the caches alone: the role may have no USAGE on the schema */
	Oid			handler = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										  CStringGetDatum("fdw_handler"),
										  PointerGetDatum(buildoidvector(NULL, 0)),
										  ObjectIdGetDatum(get_namespace_oid(SC_SCHEMA, true)));

	return OidIsValid(handler) &&
		GetForeignDataWrapper(fdwid)->fdwhandler == handler;
}

bool
sc_stream_is_stream(Oid relid)
{
	return get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE &&
		sc_stream_is_our_wrapper(GetForeignServer(GetForeignServerIdByRelId(relid))->fdwid);
}

bool
sc_stream_is_own_server(Oid server)
{
	Oid			extension = getExtensionOfObject(ForeignServerRelationId, server);
	char	   *name = OidIsValid(extension) ? get_extension_name(extension) : NULL;

	return name != NULL && strcmp(name, "streamcount") == 0;
}

/* For those who know streams, but not options */
ScStart
sc_stream_parse_start(const char *text)
{
	return sc_option_parse_start(text);
}

static void
check_metadata_type(const ScColumn *column)
{
	const Oid  *types = metadata_types[column->metadata];

	if (column->type == types[0] || column->type == types[1])
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
			 errmsg("column \"%s\" with metadata \"%s\" cannot have type %s",
					column->name, sc_option_metadata_name(column->metadata),
					format_type_be(column->type)),
			 OidIsValid(types[1]) ?
			 errhint("Its type must be %s or %s.",
					 format_type_be(types[0]), format_type_be(types[1])) :
			 errhint("Its type must be %s.", format_type_be(types[0]))));
}

/* What the options of a column cannot tell without its type and format */
static void
check_column(const ScColumn *column, List *options, ScFormat format)
{
	const char *time_option = sc_option_value(options, "time_format") ? "time_format" :
		sc_option_value(options, "time_zone") ? "time_zone" : NULL;

	if (column->kind == SC_COLUMN_METADATA)
		check_metadata_type(column);
	if (time_option && column->type != TIMESTAMPTZOID && column->type != TIMESTAMPOID)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("column \"%s\" of type %s cannot have option \"%s\"",
						column->name, format_type_be(column->type), time_option),
				 errhint("Only columns of type timestamp with time zone and timestamp "
						 "without time zone can have it.")));
	if (format == SC_FORMAT_TEXT && sc_option_value(options, "path"))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("column \"%s\" cannot have option \"%s\"", column->name, "path"),
				 errdetail("A message of format text has no members.")));
	if (column->null_on_error && column->not_null)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("column \"%s\" is NOT NULL and cannot have option \"%s\"",
						column->name, "on_error")));
}

static Node *
load_default(Relation rel, const ScColumn *column)
{
	Node	   *expr = build_column_default(rel, column->attnum);

	if (expr == NULL)
		return NULL;
	expr = (Node *) expression_planner((Expr *) expr);
	if (contain_mutable_functions(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("default of column \"%s\" is not immutable", column->name),
				 errdetail("It stands for a missing member, and a stream must read the "
						   "same at any time.")));
	return expr;
}

static void
load_column(Relation rel, Form_pg_attribute att, ScFormat format, ScColumn *column)
{
	List	   *options = GetForeignColumnOptions(RelationGetRelid(rel), att->attnum);

	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
	column->collation = att->attcollation;
	column->not_null = att->attnotnull;
	if (att->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" of a stream cannot be generated", column->name),
				 errhint("Compute it in the query.")));

	sc_option_read_column(options, format, column);
	check_column(column, options, format);
	if (column->kind == SC_COLUMN_MEMBER)
	{
		ScIdentity	saved;

		/* Planning a default runs its constant parts. */
		sc_identity_enter_restricted(&saved, rel->rd_rel->relowner);
		column->default_expr = load_default(rel, column);
		sc_identity_leave(&saved);
	}
	else if (att->atthasdef)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" cannot have a default", column->name),
				 errdetail("A default stands for a missing member of a JSON message.")));
}

static void
load_columns(Relation rel, ScStream *stream)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			npayload = 0;

	stream->natts = desc->natts;
	stream->columns = palloc0(sizeof(ScColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		ScColumn   *column = &stream->columns[stream->ncolumns];

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		load_column(rel, TupleDescAttr(desc, i), stream->format, column);
		npayload += (column->kind == SC_COLUMN_PAYLOAD);
		stream->ncolumns++;
	}

	if (stream->format == SC_FORMAT_TEXT && npayload != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("stream %s of format text must have exactly one column for the payload",
						stream->name),
				 errdetail("Columns without option \"metadata\": %d.", npayload),
				 errhint("All other columns need that option.")));
}

/* Options of the user mapping for a role, or for PUBLIC, or NIL */
static List *
mapping_options(Oid role, Oid server)
{
	HeapTuple	tuple;
	Datum		datum;
	bool		isnull;
	List	   *options = NIL;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
							ObjectIdGetDatum(role), ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		return NIL;

	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

static void
load_properties(ScStream *stream)
{
	ForeignServer *server = GetForeignServer(stream->server);
	List	   *options;
	ListCell   *lc;

	if (sc_stream_is_own_server(stream->server))
		options = list_make1(makeDefElem(SC_OPTION_BROKERS,
										 (Node *) makeString(pstrdup(sc_bootstrap_servers)), -1));
	else
		options = list_concat(list_copy(server->options),
							  mapping_options(stream->owner, stream->server));

	if (sc_option_value(options, SC_OPTION_BROKERS) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("server \"%s\" has no option \"%s\"",
						server->servername, SC_OPTION_BROKERS)));

	stream->properties = palloc(sizeof(ScProperty) * list_length(options));
	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		ScProperty *property = &stream->properties[stream->nproperties++];

		property->name = pstrdup(def->defname);
		property->value = pstrdup(defGetString(def));
	}
}

ScStream *
sc_stream_load(Oid relid, bool with_properties, MemoryContext cx)
{
	MemoryContext oldcx = MemoryContextSwitchTo(cx);
	Relation	rel = table_open(relid, AccessShareLock);
	ScStream   *stream = palloc0(sizeof(ScStream));
	ForeignTable *table;

	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("streams need a database with encoding UTF8"),
				 errdetail("The encoding of this database is %s.",
						   GetDatabaseEncodingName())));

	stream->relid = relid;
	stream->owner = rel->rd_rel->relowner;
	stream->name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											  RelationGetRelationName(rel));
	table = GetForeignTable(relid);
	stream->server = table->serverid;
	sc_option_read_table(table->options, stream);
	load_columns(rel, stream);
	if (with_properties)
		load_properties(stream);

	table_close(rel, AccessShareLock);
	MemoryContextSwitchTo(oldcx);
	return stream;
}

/* How one column is read, but not what it is called or where it stands */
static void
append_column(StringInfo out, const ScColumn *column)
{
	appendStringInfo(out, "; %s",
					 format_type_extended(column->type, column->typmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN |
										  FORMAT_TYPE_FORCE_QUALIFY));
	if (column->kind == SC_COLUMN_METADATA)
		appendStringInfo(out, " metadata %s", sc_option_metadata_name(column->metadata));
	else if (column->kind == SC_COLUMN_MEMBER)
	{
		appendStringInfoString(out, " path");
		for (int i = 0; i < column->npath; i++)
			appendStringInfo(out, " %s", quote_literal_cstr(column->path[i]));
	}
	if (column->type == TIMESTAMPTZOID || column->type == TIMESTAMPOID)
		appendStringInfo(out, " time %s %s",
						 sc_option_time_format_name(column->time_format),
						 quote_literal_cstr(pg_get_timezone_name(column->time_zone)));
	if (column->not_null)
		appendStringInfoString(out, " not null");
	if (column->null_on_error)
		appendStringInfoString(out, " null on error");
	if (column->default_expr)
		appendStringInfo(out, " default %s",
						 deparse_expression(column->default_expr, NIL, false, false));
}

/*
 * The server is not part of it: another cluster is noticed by its own id,
 * and the same one may well be reached by another list of brokers.
 */
char *
sc_stream_fingerprint(const ScStream *stream, const Bitmapset *attnums)
{
	StringInfoData out;
	int			nestlevel = NewGUCNestLevel();

	/* a default is printed by these */
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("datestyle", "ISO, MDY", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);

	initStringInfo(&out);
	appendStringInfo(&out, "topic %s format %s", quote_literal_cstr(stream->topic),
					 sc_option_format_name(stream->format));
	for (int i = 0; i < stream->ncolumns; i++)
	{
		if (bms_is_member(stream->columns[i].attnum, attnums))
			append_column(&out, &stream->columns[i]);
	}

	AtEOXact_GUC(true, nestlevel);
	return out.data;
}
