/*-------------------------------------------------------------------------
 *
 * compile_expr.c
 *		Expressions that can be evaluated anywhere at any time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "catalog.h"
#include "compile_expr.h"

bool
sc_compile_needs_executor(ScCompiling *c, const char *why)
{
	if (c->why == NULL)
		c->why = why;
	return false;
}

/* The executor knows COLLATE as a relabelling, which the planner would make of it. */
static Node *
relabel_collation(CollateExpr *collate)
{
	return (Node *) makeRelabelType(collate->arg, exprType((Node *) collate->arg),
									exprTypmod((Node *) collate->arg),
									collate->collOid, COERCE_IMPLICIT_CAST);
}

static Node *
move_vars(Node *node, ScCompiling *c)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, CollateExpr))
		node = relabel_collation((CollateExpr *) node);
	if (IsA(node, Var))
	{
		Var		   *var = copyObject((Var *) node);
		int			rtindex = var->varno;

		if (rtindex == c->from.stream && var->varattno > 0)
			c->plan->columns = bms_add_member(c->plan->columns, var->varattno);
		else if (rtindex == c->from.token && var->varattno == 1)
			var->varattno = c->plan->natts + 1;
		else if (rtindex == c->from.windows)
			sc_compile_needs_executor(c, "an expression over a window");
		else
			sc_compile_needs_executor(c, "a whole row, or a system column");
		var->varno = 1;
		return (Node *) var;
	}
	return expression_tree_mutator(node, move_vars, c);
}

/*
 * A function that is PostgreSQL's own, and whose result depends on nothing
 * but its arguments, gives the same in this process, outside of any query,
 * as its rollup's owner would see.
 */
static bool
function_needs_executor(Oid function, void *context)
{
	if (sc_catalog_is_internal(function) && func_volatile(function) == PROVOLATILE_IMMUTABLE)
		return false;
	sc_compile_needs_executor(context, psprintf("function %s", format_procedure(function)));
	return true;
}

/* Arguments that stand in the function's definition are the planner's to add. */
static bool
lacks_arguments(const FuncExpr *call)
{
	return get_func_nargs(call->funcid) != list_length(call->args);
}

static bool
node_needs_executor(Node *node, ScCompiling *c)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, function_needs_executor, c))
		return true;
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			if (lacks_arguments((FuncExpr *) node))
				break;
			/* FALLTHROUGH */
		case T_Var:
		case T_Const:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_ArrayExpr:
		case T_List:
			return expression_tree_walker(node, node_needs_executor, c);
		default:
			break;
	}
	sc_compile_needs_executor(c, "an expression that is not a plain one");
	return true;
}

static bool
is_of_token(Node *node, ScCompiling *c)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varattno > c->plan->natts;
	return expression_tree_walker(node, is_of_token, c);
}

/* Bytes are the same bytes under another type of text and another collation. */
static Node *
strip_text(Node *node)
{
	while (IsA(node, RelabelType))
	{
		Node	   *arg = (Node *) ((RelabelType *) node)->arg;

		if (exprType(arg) != TEXTOID && exprType(arg) != VARCHAROID)
			break;
		node = arg;
	}
	return node;
}

/*
 * The planner is not asked, for it would run functions, as whoever we are,
 * that the query's author has written.
 */
bool
sc_compile_expr(ScCompiling *c, Node *node, bool as_bytes, ScPlanExpr *result)
{
	Node	   *moved = move_vars(node, c);
	ListCell   *lc;

	if (c->why != NULL)
		return false;
	fix_opfuncids(moved);
	if (node_needs_executor(moved, c))
		return false;
	if (as_bytes && (exprType(moved) == TEXTOID || exprType(moved) == VARCHAROID))
		moved = strip_text(moved);
	result->expr = (Expr *) moved;
	result->of_token = is_of_token(moved, c);
	if (IsA(moved, Var))
		result->attnum = ((Var *) moved)->varattno;
	else if (!IsA(moved, Const))
		c->plan->throws = true;
	if (!as_bytes || !IsA(moved, Var))
	{
		foreach(lc, pull_var_clause(moved, 0))
			c->plan->datums = bms_add_member(c->plan->datums, lfirst_node(Var, lc)->varattno);
	}
	return true;
}
