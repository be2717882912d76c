/*-------------------------------------------------------------------------
 *
 * refuse_stream.c
 *		Where a rollup's stream stands in its query, and whether it may.
 *
 * From the defining query down through views and subqueries, as far as each of
 * them passes the stream's rows on one by one; beside it may stand what gives
 * the same for a batch as for the whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog.h"
#include "refuse.h"
#include "stream.h"

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
			sc_refuse_with("its stream on the nullable side of an outer join",
						   "A row without a match in this batch may have one in another.",
						   "Put the stream on the other side of the join.");
		if ((left || right) && join->alias)
			sc_refuse_with("its stream inside a join that has an alias", NULL,
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
		sc_refuse_with("its stream inside a subquery that groups, sorts out or limits rows",
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
	sc_refuse_with("its stream in a subquery of an expression", NULL, "Put the stream in FROM.");
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
		sc_refuse_with("no stream", "A rollup reads one foreign table of the wrapper streamcount.",
					   "For ordinary tables, use a view or a materialized view.");
	if (count.streams > 1)
		sc_refuse_with("more than one stream", "A stream must stand in it exactly once.",
					   "Make one rollup of each stream, and join the rollups when reading.");

	for (;;)
	{
		int			rtindex;
		RangeTblEntry *found;
		ListCell   *lc;

		foreach(lc, query->cteList)
			if (count_streams(((CommonTableExpr *) lfirst(lc))->ctequery) > 0)
				sc_refuse_with("its stream inside WITH", NULL, "Write it as a subquery in FROM.");

		found = find_entry(query, &rtindex);
		refuse_nullable((Node *) query->jointree, rtindex);
		if (has_inner_join((Node *) query->jointree, rtindex, query))
			place->inner_join = true;
		place->queries = lappend(place->queries, query);
		place->rtindexes = lappend_int(place->rtindexes, rtindex);
		if (found->rtekind == RTE_RELATION && found->relkind != RELKIND_VIEW)
		{
			if (found->inh && has_subclass(found->relid))
				sc_refuse_with("a stream that has child tables",
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
