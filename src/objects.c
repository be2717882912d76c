/*-------------------------------------------------------------------------
 *
 * objects.c
 *		The three objects of a rollup: query view, data table, view.
 *
 * They are plain objects of the user's, so that PostgreSQL itself follows
 * renames, tracks dependencies, dumps and restores.  The query goes into
 * its view as the parser made it; all that is made from it afterwards is
 * made from the view's tree.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/varlena.h"

#include "identity.h"
#include "objects.h"

/* ---------------------------------------------------------------------
 * Names
 * --------------------------------------------------------------------- */

static RangeVar *
parse_name(const char *name, Oid *namespace)
{
	RangeVar   *rv = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));

	*namespace = RangeVarGetAndCheckCreationNamespace(rv, NoLock, NULL);
	if (rv->relpersistence == RELPERSISTENCE_TEMP || isAnyTempNamespace(*namespace))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot make a temporary rollup"),
				 errdetail("A background worker keeps it, which does not see temporary tables.")));
	if (OidIsValid(get_relname_relid(rv->relname, *namespace)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", rv->relname)));
	rv->schemaname = get_namespace_name(*namespace);
	return rv;
}

/* <name>_query or <name>_data; a taken name gets a number. */
static char *
choose_companion(const char *name, const char *label, Oid namespace)
{
	char	   *companion = makeObjectName(name, NULL, label);

	for (int i = 1; OidIsValid(get_relname_relid(companion, namespace)); i++)
		companion = makeObjectName(name, NULL, psprintf("%s%d", label, i));
	return companion;
}

/* ---------------------------------------------------------------------
 * The query view
 * --------------------------------------------------------------------- */

/* Positions in an error are positions in the query that was handed over. */
static void
point_into_query(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
	errcontext("defining query of a rollup");
}

static RawStmt *
parse_query(const char *text)
{
	List	   *statements = pg_parse_query(text);
	RawStmt    *raw;

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("cannot make a rollup of %d statements", list_length(statements)),
				 errhint("Give a single SELECT.")));
	raw = linitial_node(RawStmt, statements);
	if (!IsA(raw->stmt, SelectStmt) || ((SelectStmt *) raw->stmt)->intoClause)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot make a rollup of another command than SELECT"),
				 errhint("Give a SELECT with GROUP BY over a stream.")));
	return raw;
}

static Oid
create_query_view(const char *text, RangeVar *name, Oid namespace)
{
	ViewStmt   *view = makeNode(ViewStmt);
	PlannedStmt *wrapper = makeNode(PlannedStmt);
	ErrorContextCallback callback;
	RawStmt    *raw;

	callback.callback = point_into_query;
	callback.arg = unconstify(char *, text);
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	raw = parse_query(text);
	view->view = name;
	view->query = raw->stmt;
	wrapper->commandType = CMD_UTILITY;
	wrapper->canSetTag = false;
	wrapper->utilityStmt = (Node *) view;
	wrapper->stmt_location = raw->stmt_location;
	wrapper->stmt_len = raw->stmt_len;
	ProcessUtility(wrapper, text, false, PROCESS_UTILITY_SUBCOMMAND, NULL, NULL,
				   None_Receiver, NULL);
	CommandCounterIncrement();
	error_context_stack = callback.previous;
	return get_relname_relid(name->relname, namespace);
}

/* ---------------------------------------------------------------------
 * The data table, and the view over it
 * --------------------------------------------------------------------- */

static void
run_utility(const char *sql)
{
	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not run \"%s\"", sql);
}

static char *
collation_clause(Oid collation)
{
	if (!OidIsValid(collation))
		return "";
	return psprintf(" COLLATE %s", generate_collation_name(collation));
}

static void
create_data_table(const char *qualified, const ScCompiled *compiled)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", qualified);
	for (int i = 0; i < compiled->nkeys + compiled->nstates; i++)
	{
		const ScDataColumn *column = &compiled->data[i];

		appendStringInfo(&sql, "%s %s%s, ", quote_identifier(column->name),
						 format_type_extended(column->type, column->typmod,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
						 collation_clause(column->collation));
	}
	appendStringInfoString(&sql, "UNIQUE NULLS NOT DISTINCT (");
	for (int i = 0; i < compiled->nkeys; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : "", quote_identifier(compiled->data[i].name));
	/* Room for updates on the page of the row: no new index entry for them. */
	appendStringInfoString(&sql, ")) WITH (fillfactor = 70)");
	run_utility(sql.data);
	run_utility(psprintf("ALTER TABLE %s REPLICA IDENTITY FULL", qualified));
}

static void
create_view(const char *qualified, const char *data, const ScCompiled *compiled)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(psprintf("SELECT FROM %s AS d", data)));
	Query	   *query = parse_analyze_fixedparams(raw, "", NULL, 0, NULL);

	query->targetList = compiled->outputs;
	run_utility(psprintf("CREATE VIEW %s AS %s", qualified, pg_get_querydef(query, false)));
	run_utility(psprintf("CREATE TRIGGER refuse_write INSTEAD OF INSERT OR UPDATE OR DELETE ON %s"
						 " FOR EACH ROW EXECUTE FUNCTION streamcount.refuse_write()", qualified));
}

ScObjects
sc_objects_create(const char *name, const char *query)
{
	ScObjects	made = {0};
	Oid			namespace;
	RangeVar   *rv = parse_name(name, &namespace);
	char	   *query_name = choose_companion(rv->relname, "query", namespace);
	char	   *data_name = choose_companion(rv->relname, "data", namespace);
	char	   *data = quote_qualified_identifier(rv->schemaname, data_name);
	Relation	view;
	int			guc_level;

	made.query = create_query_view(query, makeRangeVar(rv->schemaname, query_name, -1), namespace);
	view = table_open(made.query, AccessShareLock);

	/* From here on all text is made from trees, and all names are qualified. */
	guc_level = NewGUCNestLevel();
	sc_identity_lock_search_path();
	made.compiled = sc_compile(get_view_query(view));
	table_close(view, NoLock);
	SPI_connect();
	create_data_table(data, made.compiled);
	CommandCounterIncrement();
	create_view(quote_qualified_identifier(rv->schemaname, rv->relname), data, made.compiled);
	SPI_finish();
	AtEOXact_GUC(false, guc_level);

	made.data = get_relname_relid(data_name, namespace);
	made.rollup = get_relname_relid(rv->relname, namespace);
	return made;
}

Bitmapset *
sc_objects_columns(Oid query)
{
	Relation	view = table_open(query, AccessShareLock);
	ScCompiled *compiled = sc_compile(get_view_query(view));

	table_close(view, NoLock);
	return compiled->columns;
}
