/*-------------------------------------------------------------------------
 *
 * refuse.c
 *		What a rollup cannot keep.
 *
 * A rollup adds batch to batch, so its query must give the same rows
 * whether it runs once over everything or often over parts: the stream
 * stands in it exactly once, every row of it reaches the one grouping at
 * most as often as in the whole, and nothing depends on when it runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/typcache.h"

#include "catalog.h"
#include "refuse.h"

void
sc_refuse_with(const char *what, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot keep a query with %s in a rollup", what),
			 detail ? errdetail("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

#define READ_HINT "Leave it out here, and put it in a query on the rollup."

static void
refuse_clauses(const Query *query)
{
	if (query->commandType != CMD_SELECT || query->utilityStmt != NULL)
		sc_refuse_with("another command than SELECT", NULL, NULL);
	if (query->setOperations)
		sc_refuse_with("UNION, INTERSECT or EXCEPT", NULL, "Make one rollup of each branch.");
	if (query->groupingSets != NIL)
		sc_refuse_with("GROUPING SETS, CUBE or ROLLUP", NULL,
					   "Make one rollup of each grouping, or use several granularities of streamcount.windows.");
	if (query->groupClause == NIL)
		sc_refuse_with("no GROUP BY", "A rollup has one row for each group key.",
					   "Add the keys to GROUP BY; for one total, group by a constant such as 'ALL'::text.");
	if (query->distinctClause != NIL)
		sc_refuse_with("DISTINCT", NULL, "GROUP BY already gives each key once.");
	if (query->havingQual)
		sc_refuse_with("HAVING", "A group that does not qualify yet may do so later.", READ_HINT);
	if (query->hasWindowFuncs)
		sc_refuse_with("window functions", NULL, READ_HINT);
	if (query->sortClause != NIL)
		sc_refuse_with("ORDER BY", "A rollup is a table, which has no order.", READ_HINT);
	if (query->limitCount || query->limitOffset)
		sc_refuse_with("LIMIT or OFFSET", NULL, READ_HINT);
	if (query->rowMarks != NIL)
		sc_refuse_with("FOR UPDATE or FOR SHARE", NULL, "Leave it out.");
	if (query->hasTargetSRFs)
		sc_refuse_with("a set-returning function in the select list", NULL,
					   "Put it in FROM: FROM stream, function(column) AS name.");
	if (checkExprHasSubLink((Node *) query->targetList))
		sc_refuse_with("a subquery in the select list", NULL, READ_HINT);
}

/* Stable by name only: what they give depends on when, or for whom, they run. */
static bool
depends_on_now(Oid function, void *context)
{
	switch (function)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_AGE_TIMESTAMP:
		case F_AGE_TIMESTAMPTZ:
		case F_CURRENT_USER:
		case F_SESSION_USER:
		case F_CURRENT_DATABASE:
		case F_PG_BACKEND_PID:
		case F_INET_CLIENT_ADDR:
		case F_INET_CLIENT_PORT:
		case F_INET_SERVER_ADDR:
		case F_INET_SERVER_PORT:
		case F_PG_CURRENT_XACT_ID:
		case F_TXID_CURRENT:
		case F_PG_CURRENT_SNAPSHOT:
		case F_TXID_CURRENT_SNAPSHOT:
		case F_PG_POSTMASTER_START_TIME:
		case F_PG_CONF_LOAD_TIME:
			break;
		default:
			if (func_volatile(function) != PROVOLATILE_VOLATILE)
				return false;
	}
	*(Oid *) context = function;
	return true;
}

static bool
changing_walker(Node *node, Oid *function)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, depends_on_now, function))
		return true;
	if (IsA(node, SQLValueFunction) || IsA(node, NextValueExpr))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, changing_walker, function, 0);
	return expression_tree_walker(node, changing_walker, function);
}

static void
refuse_changing(Query *query)
{
	Oid			function = InvalidOid;

	if (!changing_walker((Node *) query, &function))
		return;
	if (OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep a query with %s in a rollup",
						format_procedure(function)),
				 errdetail("Its result depends on when the query runs, so counting again would count something else."),
				 errhint("Use the times that are in the messages, and filter by the clock when reading the rollup.")));
	sc_refuse_with("CURRENT_TIMESTAMP, CURRENT_USER and their kin",
				   "Their value depends on when, and for whom, the query runs.",
				   "Use what is in the messages, and filter when reading the rollup.");
}

/*
 * Several granularities put one message into several windows: without
 * granularity or interval among the keys, a sum over them would be shown.
 */
static void
refuse_mixed_windows(const Query *query)
{
	int			rtindex = 0;
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		RangeTblFunction *function;
		FuncExpr   *call;
		Node	   *granularities;
		bool		told_apart = false;
		ListCell   *lc2;

		rtindex++;
		if (rte->rtekind != RTE_FUNCTION)
			continue;
		function = linitial_node(RangeTblFunction, rte->functions);
		call = (FuncExpr *) function->funcexpr;
		if (!IsA(call, FuncExpr) || !sc_catalog_is_windows(call->funcid))
			continue;
		granularities = lsecond(call->args);
		if (IsA(granularities, Const) && !((Const *) granularities)->constisnull &&
			sc_catalog_array_length(((Const *) granularities)->constvalue) <= 1)
			continue;
		foreach(lc2, query->groupClause)
		{
			TargetEntry *tle = get_sortgroupclause_tle(lfirst(lc2), query->targetList);
			Var		   *var = (Var *) tle->expr;

			if (IsA(var, Var) && var->varno == rtindex && var->varlevelsup == 0 &&
				(var->varattno == 1 || var->varattno == 2))
				told_apart = true;
		}
		if (!told_apart)
			sc_refuse_with("windows of several granularities that are not told apart",
						   "Neither granularity nor interval is a group key.",
						   "Add interval to GROUP BY, or give streamcount.windows a single granularity.");
	}
}

void
sc_refuse_query(Query *query)
{
	refuse_clauses(query);
	refuse_changing(query);
	refuse_mixed_windows(query);
}

void
sc_refuse_key(const Node *key)
{
	Oid			type = exprType(key);

	if (get_typtype(type) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep a group key of pseudo-type %s in a rollup",
						format_type_be(type)),
				 errhint("Group by the fields, each as a key of its own.")));
	if (!OidIsValid(lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep a group key of type %s in a rollup",
						format_type_be(type)),
				 errdetail("The type has no btree operator class, so the key cannot be unique."),
				 errhint("Cast the key to a type that can be sorted, such as text or jsonb.")));
}
