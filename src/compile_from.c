/*-------------------------------------------------------------------------
 *
 * compile_from.c
 *		A FROM clause of a stream, a tokenizer and windows, and no more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "nodes/makefuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compile_from.h"

static const struct
{
	const char *name;
	ScTokenKind kind;
}			tokenizers[] =
{
	{"hashtags", SC_TOKEN_HASHTAG},
	{"mentions", SC_TOKEN_MENTION},
	{"cashtags", SC_TOKEN_CASHTAG},
	{"urls", SC_TOKEN_URL},
	{"words", SC_TOKEN_WORD},
};

/* All arguments, in their order: defaults, too, which the planner would add. */
static List *
all_arguments(const FuncExpr *call)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	List	   *args;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->funcid);
	args = expand_function_arguments(call->args, false, call->funcresulttype, tuple);
	ReleaseSysCache(tuple);
	return args;
}

static const char *
take_function(const RangeTblEntry *rte, int rtindex, ScFromParts *parts)
{
	FuncExpr   *call = (FuncExpr *) linitial_node(RangeTblFunction, rte->functions)->funcexpr;
	const char *name;

	if (list_length(rte->functions) != 1 || rte->funcordinality || !IsA(call, FuncExpr))
		return "ROWS FROM or WITH ORDINALITY";
	name = sc_catalog_function_name(call->funcid);
	if (name != NULL && strcmp(name, "windows") == 0)
	{
		if (parts->windows != 0)
			return "streamcount.windows() twice";
		parts->windows = rtindex;
		parts->windows_args = all_arguments(call);
		return NULL;
	}
	for (int i = 0; name != NULL && i < (int) lengthof(tokenizers); i++)
	{
		if (strcmp(name, tokenizers[i].name) != 0)
			continue;
		if (parts->token != 0)
			return "a second tokenizer";
		parts->token = rtindex;
		parts->token_kind = tokenizers[i].kind;
		parts->token_args = all_arguments(call);
		return NULL;
	}
	return psprintf("function %s in FROM", format_procedure(call->funcid));
}

static const char *
take_entry(const Query *query, int rtindex, Oid stream, ScFromParts *parts)
{
	RangeTblEntry *rte = rt_fetch(rtindex, query->rtable);

	switch (rte->rtekind)
	{
		case RTE_RELATION:
			if (rte->relid != stream)
				return psprintf("relation \"%s\"", get_rel_name(rte->relid));
			parts->stream = rtindex;
			return NULL;
		case RTE_FUNCTION:
			return take_function(rte, rtindex, parts);
		default:
			return "a subquery in FROM";
	}
}

static const char *
take_node(const Query *query, Node *node, Oid stream, ScFromParts *parts)
{
	const char *why = NULL;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return take_entry(query, ((RangeTblRef *) node)->rtindex, stream, parts);
	if (IsA(node, FromExpr))
	{
		FromExpr   *from = (FromExpr *) node;

		foreach(lc, from->fromlist)
			if (why == NULL)
				why = take_node(query, lfirst(lc), stream, parts);
		parts->quals = list_concat(parts->quals, make_ands_implicit((Expr *) from->quals));
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);

		if (join->jointype != JOIN_INNER)
			return "an outer join";
		why = take_node(query, join->larg, stream, parts);
		if (why == NULL)
			why = take_node(query, join->rarg, stream, parts);
		parts->quals = list_concat(parts->quals, make_ands_implicit((Expr *) join->quals));
	}
	return why;
}

const char *
sc_compile_from(const Query *query, Oid stream, ScFromParts *parts)
{
	const char *why;

	if (query->cteList != NIL)
		return "WITH";
	if (query->hasSubLinks)
		return "a subquery in an expression";
	why = take_node(query, (Node *) query->jointree, stream, parts);
	if (why == NULL && parts->stream == 0)
		why = "a view";
	return why;
}
