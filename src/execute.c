/*-------------------------------------------------------------------------
 *
 * execute.c
 *		The defining query, run by PostgreSQL's executor.
 *
 * The statement is made anew for every flush from the query view's tree,
 * inside the transaction that runs it: every lock is held before a name is
 * read, so no DDL can come between, and nothing is cached that could be
 * stale.  It costs about a millisecond, at most ten times a second.
 *
 * Names are written down qualified and analysed under a locked search_path;
 * planning and running are under the settings of the rollup's creation, as
 * the functions in the query may read them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "compile.h"
#include "execute.h"
#include "identity.h"

/*
 * A view below the query may have been replaced since the messages were
 * decoded: a column that it reads only now would be NULL in all of them.
 */
static ScCompiled *
compile(const ScRollup *rollup, const Bitmapset *columns)
{
	Relation	view = table_open(rollup->query, AccessShareLock);
	ScCompiled *compiled = sc_compile(get_view_query(view));

	table_close(view, NoLock);
	if (!bms_equal(compiled->columns, columns))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("query of rollup %s reads other columns than before", rollup->name)));
	return compiled;
}

/*
 * The data columns stand in the table in the order in which they were made;
 * columns that somebody added come after them.
 */
static List *
data_column_names(Relation data, const ScCompiled *compiled)
{
	TupleDesc	desc = RelationGetDescr(data);
	List	   *names = NIL;
	int			wanted = compiled->nkeys + compiled->nstates;

	for (int i = 0; i < desc->natts && list_length(names) < wanted; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (att->atttypid != compiled->data[list_length(names)].type)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of \"%s\" is not of the type that the rollup keeps there",
							NameStr(att->attname), RelationGetRelationName(data)),
					 errdetail("It is %s, not %s.", format_type_be(att->atttypid),
							   format_type_be(compiled->data[list_length(names)].type)),
					 errhint("Drop the rollup and create it again.")));
		names = lappend(names, (char *) quote_identifier(pstrdup(NameStr(att->attname))));
	}
	if (list_length(names) < wanted)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("columns of \"%s\" are missing", RelationGetRelationName(data)),
				 errhint("Drop the rollup and create it again.")));
	return names;
}

static void
append_names(StringInfo sql, List *names, int n)
{
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s%s", i ? ", " : "", (char *) list_nth(names, i));
}

/* Rows in the order of the index: neighbours on its pages, and one order of locks. */
static void
append_order(StringInfo sql, const ScCompiled *compiled)
{
	for (int i = 0; i < compiled->nkeys; i++)
		appendStringInfo(sql, "%s s.c%d", i ? "," : " ORDER BY", i + 1);
}

static char *
merge_statement(const ScRollup *rollup, const ScCompiled *compiled)
{
	Relation	data = table_open(rollup->data, RowExclusiveLock);
	List	   *names = data_column_names(data, compiled);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS d (",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(data)),
												RelationGetRelationName(data)));
	append_names(&sql, names, list_length(names));
	appendStringInfo(&sql, ") SELECT * FROM (%s) AS s", pg_get_querydef(compiled->states, false));
	append_order(&sql, compiled);
	appendStringInfoString(&sql, " ON CONFLICT (");
	append_names(&sql, names, compiled->nkeys);
	appendStringInfoString(&sql, compiled->nstates ? ") DO UPDATE SET " : ") DO NOTHING");
	for (int i = compiled->nkeys; i < list_length(names); i++)
	{
		char	   *name = list_nth(names, i);

		appendStringInfo(&sql, "%s%s = ", i > compiled->nkeys ? ", " : "", name);
		appendStringInfo(&sql, compiled->data[i].merge, psprintf("d.%s", name),
						 psprintf("excluded.%s", name));
	}
	table_close(data, NoLock);
	return sql.data;
}

static void
apply_settings(const ScRollup *rollup)
{
	for (int i = 0; i + 1 < list_length(rollup->settings); i += 2)
		(void) set_config_option(list_nth(rollup->settings, i),
								 list_nth(rollup->settings, i + 1),
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
}

/* Analyse, plan and run one statement, or only look whether it would run. */
static uint64
run(const char *sql, const ScRollup *rollup, bool only_look)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(sql));
	List	   *queries = pg_analyze_and_rewrite_fixedparams(raw, sql, NULL, 0, NULL);
	PlannedStmt *plan;
	QueryDesc  *desc;
	uint64		processed;

	if (list_length(queries) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot merge into \"%s\", which has rules",
						get_rel_name(rollup->data)),
				 errhint("Drop its rules.")));
	apply_settings(rollup);
	plan = pg_plan_query(linitial_node(Query, queries), sql, 0, NULL);
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	desc = CreateQueryDesc(plan, sql, GetActiveSnapshot(), InvalidSnapshot,
						   None_Receiver, NULL, NULL, 0);
	ExecutorStart(desc, only_look ? EXEC_FLAG_EXPLAIN_ONLY : 0);
	if (!only_look)
	{
		sc_executor_run(desc);
		ExecutorFinish(desc);
	}
	processed = desc->estate->es_processed;
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	PopActiveSnapshot();
	CommandCounterIncrement();
	return processed;
}

uint64
sc_execute_merge(const ScRollup *rollup, const Bitmapset *columns)
{
	ScIdentity	saved;
	uint64		rows;

	sc_identity_enter_restricted(&saved, rollup->owner);
	sc_identity_lock_search_path();
	rows = run(merge_statement(rollup, compile(rollup, columns)), rollup, false);
	sc_identity_leave(&saved);
	return rows;
}

void
sc_execute_select(const ScRollup *rollup, const Bitmapset *columns)
{
	ScIdentity	saved;

	sc_identity_enter_restricted(&saved, rollup->owner);
	sc_identity_lock_search_path();
	(void) run(pg_get_querydef(compile(rollup, columns)->states, false), rollup, false);
	sc_identity_leave(&saved);
}

void
sc_execute_check(const ScRollup *rollup, const Bitmapset *columns)
{
	ScIdentity	saved;

	sc_identity_enter_restricted(&saved, rollup->owner);
	sc_identity_lock_search_path();

	/* As in a worker: a policy is an error, and hides no rows. */
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) run(merge_statement(rollup, compile(rollup, columns)), rollup, true);
	sc_identity_leave(&saved);
}
