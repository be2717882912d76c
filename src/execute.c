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
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "compile.h"
#include "crash_point.h"
#include "execute.h"
#include "identity.h"

/* What rows that are counted already are called in the statement that merges them. */
#define ROWS_NAME "streamcount_rows"
/* So many at a time: a longer list of them would be a second copy of the tally. */
#define ROWS_AT_A_TIME 20000
#define ROWS_KB (16 * 1024)

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

/* from: what gives the rows, as a table expression. */
static char *
merge_statement(const ScRollup *rollup, const ScCompiled *compiled, const char *from, bool sort)
{
	Relation	data = table_open(rollup->data, RowExclusiveLock);
	List	   *names = data_column_names(data, compiled);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS d (",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(data)),
												RelationGetRelationName(data)));
	append_names(&sql, names, list_length(names));
	appendStringInfo(&sql, ") SELECT * FROM %s AS s", from);
	if (sort)
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

static char *
merge_of_query(const ScRollup *rollup, const ScCompiled *compiled)
{
	return merge_statement(rollup, compiled,
						   psprintf("(%s)", pg_get_querydef(compiled->states, false)), true);
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

static PlannedStmt *
plan(const char *sql, const ScRollup *rollup, QueryEnvironment *env)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(sql));
	List	   *queries = pg_analyze_and_rewrite_fixedparams(raw, sql, NULL, 0, env);

	if (list_length(queries) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot merge into \"%s\", which has rules",
						get_rel_name(rollup->data)),
				 errhint("Drop its rules.")));
	apply_settings(rollup);
	return pg_plan_query(linitial_node(Query, queries), sql, 0, NULL);
}

/* Run a plan, or only look whether it would run. */
static uint64
run(PlannedStmt *planned, const char *sql, QueryEnvironment *env, bool only_look)
{
	QueryDesc  *desc;
	uint64		processed;

	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	desc = CreateQueryDesc(planned, sql, GetActiveSnapshot(), InvalidSnapshot,
						   None_Receiver, NULL, env, 0);
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

static uint64
plan_and_run(const char *sql, const ScRollup *rollup, bool only_look)
{
	return run(plan(sql, rollup, NULL), sql, NULL, only_look);
}

uint64
sc_execute_merge(const ScRollup *rollup, const Bitmapset *columns)
{
	ScIdentity	saved;
	uint64		rows;

	sc_identity_enter_restricted(&saved, rollup->owner);
	rows = plan_and_run(merge_of_query(rollup, compile(rollup, columns)), rollup, false);
	SC_CRASH_POINT("after_upsert");
	sc_identity_leave(&saved);
	return rows;
}

struct ScSelect
{
	const ScRollup *rollup;
	const char *sql;
	PlannedStmt *planned;
};

ScSelect *
sc_execute_plan_select(const ScRollup *rollup, const Bitmapset *columns)
{
	ScSelect   *select = palloc(sizeof(ScSelect));
	ScIdentity	saved;

	sc_identity_enter_restricted(&saved, rollup->owner);
	select->rollup = rollup;
	select->sql = pg_get_querydef(compile(rollup, columns)->states, false);
	select->planned = plan(select->sql, rollup, NULL);
	sc_identity_leave(&saved);
	return select;
}

void
sc_execute_select(const ScSelect *select)
{
	ScIdentity	saved;

	sc_identity_enter_restricted(&saved, select->rollup->owner);
	apply_settings(select->rollup);
	(void) run(select->planned, select->sql, NULL, false);
	sc_identity_leave(&saved);
}

void
sc_execute_check(const ScRollup *rollup, const Bitmapset *columns)
{
	ScIdentity	saved;

	sc_identity_enter_restricted(&saved, rollup->owner);
	/* As in a worker: a policy is an error, and hides no rows. */
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) plan_and_run(merge_of_query(rollup, compile(rollup, columns)), rollup, true);
	sc_identity_leave(&saved);
}

/* ---------------------------------------------------------------------
 * Rows that are counted already
 * --------------------------------------------------------------------- */

static TupleDesc
describe_rows(const ScCompiled *compiled)
{
	int			n = compiled->nkeys + compiled->nstates;
	TupleDesc	desc = CreateTemplateTupleDesc(n);

	for (int i = 0; i < n; i++)
	{
		const ScDataColumn *column = &compiled->data[i];

		TupleDescInitEntry(desc, i + 1, psprintf("c%d", i + 1), column->type, column->typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, column->collation);
	}
	return desc;
}

static EphemeralNamedRelation
register_rows(QueryEnvironment *env, TupleDesc desc)
{
	EphemeralNamedRelation rows = palloc0(sizeof(EphemeralNamedRelationData));

	rows->md.name = ROWS_NAME;
	rows->md.reliddesc = InvalidOid;
	rows->md.tupdesc = desc;
	rows->md.enrtype = ENR_NAMED_TUPLESTORE;
	rows->md.enrtuples = ROWS_AT_A_TIME;
	register_ENR(env, rows);
	return rows;
}

/* Gather the next rows; false when there are none. */
static bool
gather(Tuplestorestate *store, TupleDesc desc, ScRowSource next, void *source)
{
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *isnull = palloc(sizeof(bool) * desc->natts);
	int			n = 0;

	while (n < ROWS_AT_A_TIME && next(source, values, isnull))
	{
		tuplestore_putvalues(store, desc, values, isnull);
		n++;
	}
	pfree(values);
	pfree(isnull);
	return n > 0;
}

static uint64
merge_rows(const ScRollup *rollup, const ScCompiled *compiled, bool in_order,
		   ScRowSource next, void *source)
{
	QueryEnvironment *env = create_queryEnv();
	TupleDesc	desc = describe_rows(compiled);
	EphemeralNamedRelation rows = register_rows(env, desc);
	char	   *sql = merge_statement(rollup, compiled, ROWS_NAME, !in_order);
	PlannedStmt *planned = plan(sql, rollup, env);
	uint64		written = 0;
	bool		more;

	do
	{
		Tuplestorestate *store = tuplestore_begin_heap(false, false, ROWS_KB);

		more = gather(store, desc, next, source);
		rows->reldata = store;
		if (more)
		{
			written += run(planned, sql, env, false);
			SC_CRASH_POINT("after_upsert");
		}
		tuplestore_end(store);
		CHECK_FOR_INTERRUPTS();
	} while (more);
	return written;
}

uint64
sc_execute_merge_rows(const ScRollup *rollup, const Bitmapset *columns, bool in_order,
					  ScRowSource next, void *source)
{
	ScIdentity	saved;
	ScCompiled *compiled;
	uint64		rows;

	sc_identity_enter_restricted(&saved, rollup->owner);
	compiled = compile(rollup, columns);

	/* Whoever may not run the query may not have its result, either. */
	(void) plan_and_run(merge_of_query(rollup, compiled), rollup, true);
	sc_identity_lock_search_path();
	rows = merge_rows(rollup, compiled, in_order, next, source);
	sc_identity_leave(&saved);
	return rows;
}
