/*-------------------------------------------------------------------------
 *
 * compile_carry.c
 *		The row's number, carried up from the stream.
 *
 * Where the stream stands in a subquery of FROM, the subquery gets one column
 * more.  A join that the subquery is in lists the columns of both its sides,
 * and must list this one: the deparser goes through the sides' columns and
 * the join's together, and would run over the end of the latter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"

#include "compile_carry.h"

#define CTID_NAME "streamcount_ctid"

/*
 * Enter a new column of one side into the side's list of a join, which has
 * the merged columns first, and all others in their order behind them.  at:
 * the column's number in the side.  Returns where it is in the list.
 */
static int
enter_column(List **columns, int nmerged, int at)
{
	int			place = list_length(*columns);

	for (int i = list_length(*columns) - 1; i >= 0; i--)
	{
		ListCell   *lc = list_nth_cell(*columns, i);

		if (lfirst_int(lc) < at)
			continue;
		lfirst_int(lc)++;
		if (i >= nmerged)
			place = i;
	}
	*columns = list_insert_nth_int(*columns, place, at);
	return place;
}

/* The number of var's column in what the node gives; 0: it is not from there. */
static int
widen_joins(Query *query, Node *node, Var *var)
{
	JoinExpr   *join;
	RangeTblEntry *rte;
	int			left;
	int			right;
	int			place;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == var->varno ? var->varattno : 0;
	if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			(void) widen_joins(query, lfirst(lc), var);
		return 0;
	}

	join = castNode(JoinExpr, node);
	left = widen_joins(query, join->larg, var);
	right = widen_joins(query, join->rarg, var);
	if (left == 0 && right == 0)
		return 0;

	/* the join's own columns: merged ones, then the left side's, then the right's */
	rte = rt_fetch(join->rtindex, query->rtable);
	if (left != 0)
		place = enter_column(&rte->joinleftcols, rte->joinmergedcols, left);
	else
		place = enter_column(&rte->joinrightcols, rte->joinmergedcols, right) -
			rte->joinmergedcols + list_length(rte->joinleftcols);
	rte->joinaliasvars = list_insert_nth(rte->joinaliasvars, place, copyObject(var));
	rte->eref->colnames = list_insert_nth(rte->eref->colnames, place, makeString(CTID_NAME));
	return place + 1;
}

Var *
sc_compile_carry_ctid(const ScStreamPlace *place)
{
	int			depth = list_length(place->queries);
	Var		   *var = makeVar(llast_int(place->rtindexes), SelfItemPointerAttributeNumber,
							  TIDOID, -1, InvalidOid, 0);

	for (int i = depth - 1; i > 0; i--)
	{
		Query	   *below = list_nth(place->queries, i);
		Query	   *above = list_nth(place->queries, i - 1);
		int			rtindex = list_nth_int(place->rtindexes, i - 1);
		RangeTblEntry *rte = rt_fetch(rtindex, above->rtable);
		AttrNumber	attno = list_length(below->targetList) + 1;

		below->targetList = lappend(below->targetList,
									makeTargetEntry((Expr *) var, attno, CTID_NAME, false));
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(CTID_NAME));
		var = makeVar(rtindex, attno, TIDOID, -1, InvalidOid, 0);
		(void) widen_joins(above, (Node *) above->jointree, var);
	}
	return var;
}
