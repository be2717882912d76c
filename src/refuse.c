/*-------------------------------------------------------------------------
 *
 * refuse.c
 *		What a rollup cannot keep, and where its stream stands.
 *
 * A rollup adds batch to batch, so its query must give the same rows
 * whether it runs once over everything or often over parts: the stream
 * stands in it exactly once, every row of it reaches the one grouping at
 * most as often as in the whole, and nothing depends on when it runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "catalog.h"
#include "refuse.h"
#include "stream.h"

static void
refuse(const char *what, const char *detail, const char *hint)
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
		refuse("another command than SELECT", NULL, NULL);
	if (query->setOperations)
		refuse("UNION, INTERSECT or EXCEPT", NULL, "Make one rollup of each branch.");
	if (query->groupingSets != NIL)
		refuse("GROUPING SETS, CUBE or ROLLUP", NULL,
			   "Make one rollup of each grouping, or use several granularities of streamcount.windows.");
	if (query->groupClause == NIL)
		refuse("no GROUP BY", "A rollup has one row for each group key.",
			   "Add the keys to GROUP BY; for one total, group by a constant such as 'ALL'::text.");
	if (query->distinctClause != NIL)
		refuse("DISTINCT", NULL, "GROUP BY already gives each key once.");
	if (query->havingQual)
		refuse("HAVING", "A group that does not qualify yet may do so later.", READ_HINT);
	if (query->hasWindowFuncs)
		refuse("window functions", NULL, READ_HINT);
	if (query->sortClause != NIL)
		refuse("ORDER BY", "A rollup is a table, which has no order.", READ_HINT);
	if (query->limitCount || query->limitOffset)
		refuse("LIMIT or OFFSET", NULL, READ_HINT);
	if (query->rowMarks != NIL)
		refuse("FOR UPDATE or FOR SHARE", NULL, "Leave it out.");
	if (query->hasTargetSRFs)
		refuse("a set-returning function in the select list", NULL,
			   "Put it in FROM: FROM stream, function(column) AS name.");
	if (checkExprHasSubLink((Node *) query->targetList))
		refuse("a subquery in the select list", NULL, READ_HINT);
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
	refuse("CURRENT_TIMESTAMP, CURRENT_USER and their kin",
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
			refuse("windows of several granularities that are not told apart",
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

/* ---------------------------------------------------------------------
 * Where the stream stands
 * --------------------------------------------------------------------- */

/* A view over a stream is replaced by its query, as the rewriter would do. */
static void
open_view(RangeTblEntry *rte)
{
	Relation	view = table_open(rte->relid, AccessShareLock);
	Query	   *query = copyObject(get_view_query(view));

	table_close(view, NoLock);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
#if PG_VERSION_NUM >= 160000
	rte->perminfoindex = 0;
#endif
}

typedef struct StreamCount
{
	int			streams;
	Oid			rollup;			/* a rollup that is read, if any */
} StreamCount;

/* Count the streams below, through views and at any depth. */
static bool
count_walker(Node *node, StreamCount *count)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		/* A view's own OLD and NEW entries, before 16, are not in FROM. */
		if (rte->rtekind != RTE_RELATION || !rte->inFromCl)
			return false;
		if (sc_stream_is_stream(rte->relid))
			count->streams++;
		else if (sc_catalog_is_rollup(rte->relid))
			count->rollup = rte->relid;
		else if (rte->relkind == RELKIND_VIEW)
		{
			Relation	view = table_open(rte->relid, AccessShareLock);

			count_walker((Node *) get_view_query(view), count);
			table_close(view, NoLock);
		}
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, count_walker, count,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, count_walker, count);
}

static int
count_streams(Node *node)
{
	StreamCount count = {0};

	count_walker(node, &count);
	return count.streams;
}

/* Does the jointree below have the entry?  Refuse where it may be null-extended. */
static bool
refuse_nullable(Node *node, int rtindex)
{
	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == rtindex;
	if (IsA(node, FromExpr))
	{
		bool		found = false;
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			if (refuse_nullable(lfirst(lc), rtindex))
				found = true;
		return found;
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);
		bool		left = refuse_nullable(join->larg, rtindex);
		bool		right = refuse_nullable(join->rarg, rtindex);

		if ((left && (join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL)) ||
			(right && (join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL)))
			refuse("its stream on the nullable side of an outer join",
				   "A row without a match in this batch may have one in another.",
				   "Put the stream on the other side of the join.");
		if ((left || right) && join->alias)
			refuse("its stream inside a join that has an alias", NULL,
				   "Give aliases to the sides of the join instead.");
		return left || right;
	}
}

/* Is there a table beside the stream whose missing rows would filter messages? */
static bool
has_inner_join(Node *node, int rtindex, const Query *query)
{
	if (IsA(node, RangeTblRef))
	{
		int			other = ((RangeTblRef *) node)->rtindex;
		RTEKind		kind = rt_fetch(other, query->rtable)->rtekind;

		return other != rtindex && (kind == RTE_RELATION || kind == RTE_SUBQUERY);
	}
	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			if (has_inner_join(lfirst(lc), rtindex, query))
				return true;
		return false;
	}
	if (castNode(JoinExpr, node)->jointype == JOIN_LEFT)
		return has_inner_join(((JoinExpr *) node)->larg, rtindex, query);
	if (castNode(JoinExpr, node)->jointype == JOIN_RIGHT)
		return has_inner_join(((JoinExpr *) node)->rarg, rtindex, query);
	return has_inner_join(((JoinExpr *) node)->larg, rtindex, query) ||
		has_inner_join(((JoinExpr *) node)->rarg, rtindex, query);
}

/* A subquery on the way passes the stream's rows on, one by one, or is refused. */
static void
refuse_below_top(const Query *query)
{
	if (query->hasAggs || query->groupClause != NIL || query->groupingSets != NIL ||
		query->havingQual || query->distinctClause != NIL || query->setOperations ||
		query->hasWindowFuncs || query->limitCount || query->limitOffset)
		refuse("its stream inside a subquery that groups, sorts out or limits rows",
			   "Such a subquery gives something else for a batch than for the whole.",
			   "Group once, in the outermost query.");
}

/* The entry that is the stream, or leads to it. */
static RangeTblEntry *
find_entry(const Query *query, int *rtindex)
{
	ListCell   *lc;

	*rtindex = 0;
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		(*rtindex)++;
		if (count_streams((Node *) list_make1(rte)) > 0 ||
			(rte->rtekind == RTE_SUBQUERY && count_streams((Node *) rte->subquery) > 0))
			return rte;
	}
	refuse("its stream in a subquery of an expression", NULL, "Put the stream in FROM.");
	return NULL;
}

ScStreamPlace *
sc_refuse_find_stream(Query *query)
{
	ScStreamPlace *place = palloc0(sizeof(ScStreamPlace));
	StreamCount count = {0};

	count_walker((Node *) query, &count);
	if (count.streams == 0 && OidIsValid(count.rollup))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot make a rollup of the rollup \"%s\"",
						get_rel_name(count.rollup)),
				 errhint("Make a second rollup of the same stream, or a view over the first.")));
	if (count.streams == 0)
		refuse("no stream", "A rollup reads one foreign table of the wrapper streamcount.",
			   "For ordinary tables, use a view or a materialized view.");
	if (count.streams > 1)
		refuse("more than one stream", "A stream must stand in it exactly once.",
			   "Make one rollup of each stream, and join the rollups when reading.");

	for (;;)
	{
		int			rtindex;
		RangeTblEntry *found;
		ListCell   *lc;

		foreach(lc, query->cteList)
			if (count_streams(((CommonTableExpr *) lfirst(lc))->ctequery) > 0)
				refuse("its stream inside WITH", NULL, "Write it as a subquery in FROM.");

		found = find_entry(query, &rtindex);
		refuse_nullable((Node *) query->jointree, rtindex);
		if (has_inner_join((Node *) query->jointree, rtindex, query))
			place->inner_join = true;
		place->queries = lappend(place->queries, query);
		place->rtindexes = lappend_int(place->rtindexes, rtindex);
		if (found->rtekind == RTE_RELATION && found->relkind != RELKIND_VIEW)
		{
			if (found->inh && has_subclass(found->relid))
				refuse("a stream that has child tables",
					   "Their rows would be counted anew with every batch.",
					   "Write FROM ONLY, or drop the child tables.");
			place->stream = found->relid;
			return place;
		}
		if (found->rtekind == RTE_RELATION)
			open_view(found);
		query = found->subquery;
		refuse_below_top(query);
	}
}
