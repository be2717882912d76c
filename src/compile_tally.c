/*-------------------------------------------------------------------------
 *
 * compile_tally.c
 *		What a tally has to do for a defining query, or why it cannot.
 *
 * The tally knows one tokenizer, windows(), expressions that PostgreSQL's
 * expression engine can evaluate anywhere at any time, and a few aggregates.
 * A query with anything else needs the executor, which is never wrong, just
 * slower; so whatever is not surely understood here is a reason to say no.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "aggregate.h"
#include "catalog.h"
#include "compat.h"
#include "compile_expr.h"
#include "compile_tally.h"
#include "decode_quick.h"

/* ---------------------------------------------------------------------
 * The parts of the query
 * --------------------------------------------------------------------- */

static bool
compile_filters(ScCompiling *c)
{
	ListCell   *lc;

	foreach(lc, c->from.quals)
	{
		ScPlanExpr	filter = {0};

		if (!sc_compile_expr(c, lfirst(lc), false, &filter))
			return false;
		c->plan->throws = true;
		if (filter.of_token)
			c->plan->token_filters = lappend(c->plan->token_filters, filter.expr);
		else
			c->plan->filters = lappend(c->plan->filters, filter.expr);
	}
	return true;
}

static bool
compile_token(ScCompiling *c)
{
	ScTallyPlan *plan = c->plan;

	if (c->from.token == 0)
		return true;
	plan->has_token = true;
	plan->token_kind = c->from.token_kind;
	if (!sc_compile_expr(c, linitial(c->from.token_args), true, &plan->token_text))
		return false;
	if (plan->token_text.of_token)
		return sc_compile_needs_executor(c, "a tokenizer of tokens");
	return true;
}

static bool
add_granularity(ScCompiling *c, const char *name)
{
	ScTallyPlan *plan = c->plan;
	ScGranularity *granularity = &plan->granularities[plan->ngranularities];

	if (sc_window_parse(granularity, name) != NULL)
		return sc_compile_needs_executor(c, "a granularity that is none");
	for (int i = 0; i < plan->ngranularities; i++)
		if (strcmp(plan->granularities[i].name, granularity->name) == 0)
			return true;
	plan->ngranularities++;
	return true;
}

/* The value of a literal, which is no code of anybody's; NULL where it is none. */
static Const *
literal(Node *node)
{
	if (IsA(node, ArrayExpr))
	{
		ListCell   *lc;

		foreach(lc, ((ArrayExpr *) node)->elements)
			if (!IsA(lfirst(lc), Const))
				return NULL;
		node = eval_const_expressions(NULL, node);
	}
	return IsA(node, Const) && !((Const *) node)->constisnull ? (Const *) node : NULL;
}

static bool
compile_windows(ScCompiling *c)
{
	ScTallyPlan *plan = c->plan;
	Const	   *list,
			   *zone;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (c->from.windows == 0)
		return true;
	plan->has_windows = true;
	if (!sc_compile_expr(c, linitial(c->from.windows_args), false, &plan->time))
		return false;
	if (plan->time.of_token)
		return sc_compile_needs_executor(c, "windows of a token");
	list = literal(lsecond(c->from.windows_args));
	zone = literal(lthird(c->from.windows_args));
	if (list == NULL || zone == NULL)
		return sc_compile_needs_executor(c, "granularities or a time zone of windows that are not constant");
	plan->zone = pg_tzset(TextDatumGetCString(zone->constvalue));
	if (plan->zone == NULL || !pg_tz_acceptable(plan->zone))
		return sc_compile_needs_executor(c, "a time zone that is none");
	deconstruct_array(DatumGetArrayTypeP(list->constvalue), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	plan->granularities = palloc0(sizeof(ScGranularity) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			return sc_compile_needs_executor(c, "a granularity that is none");
		if (!add_granularity(c, TextDatumGetCString(elements[i])))
			return false;
	}
	return true;
}

/* One row of the data table must be one window: the tally gives each window once. */
static bool
check_windows_told_apart(ScCompiling *c)
{
	bool		has[SC_KEY_WINDOW_END + 1] = {false};

	if (!c->plan->has_windows)
		return true;
	for (int i = 0; i < c->plan->nkeys; i++)
		has[c->plan->keys[i].kind] = true;
	if (has[SC_KEY_INTERVAL])
		return true;
	if ((has[SC_KEY_WINDOW_START] || has[SC_KEY_WINDOW_END]) &&
		(has[SC_KEY_GRANULARITY] || c->plan->ngranularities == 1))
		return true;
	return sc_compile_needs_executor(c, "windows that the group keys do not tell apart");
}

static bool
compile_key(ScCompiling *c, Node *expr, ScPlanKey *key)
{
	Var		   *var = (Var *) expr;
	const char *why;

	if (IsA(expr, Var) && var->varno == c->from.windows && var->varattno >= 1 && var->varattno <= 4)
	{
		key->kind = SC_KEY_GRANULARITY + var->varattno - 1;
		return true;
	}
	key->kind = SC_KEY_EXPR;
	if (!sc_tally_describe_key(&key->key, exprType(expr), exprCollation(expr), &why))
		return sc_compile_needs_executor(c, why);
	return sc_compile_expr(c, expr, key->key.kind == SC_TALLY_BYTES, &key->value);
}

static bool
compile_keys(ScCompiling *c, const ScCompiled *compiled)
{
	ScTallyPlan *plan = c->plan;
	bool		windows_seen = false;

	plan->in_order = true;
	plan->nkeys = compiled->nkeys;
	plan->keys = palloc0(sizeof(ScPlanKey) * compiled->nkeys);
	for (int i = 0; i < compiled->nkeys; i++)
	{
		if (!compile_key(c, compiled->data[i].expr, &plan->keys[i]))
			return false;
		if (plan->keys[i].kind != SC_KEY_EXPR)
			windows_seen = true;
		else if (windows_seen)
			plan->in_order = false;
	}
	return true;
}

static bool
compile_state(ScCompiling *c, const Aggref *aggref, ScPlanState *state)
{
	static const struct
	{
		const char *name;
		ScTallyStateKind kind;
	}			kinds[] = {{"count", SC_TALLY_COUNT}, {"sum", SC_TALLY_SUM},
	{"min", SC_TALLY_MIN}, {"max", SC_TALLY_MAX}};
	Node	   *arg = aggref->aggstar ? NULL :
		(Node *) linitial_node(TargetEntry, aggref->args)->expr;
	Oid			argtype = InvalidOid;
	const char *why;
	int			i = 0;

	/* Whether a row passes FILTER stands in for the argument that count(*) has not. */
	if (arg)
		argtype = exprType(arg);
	else if (aggref->aggfilter)
		argtype = BOOLOID;
	while (i < (int) lengthof(kinds) && !sc_aggregate_is(aggref, kinds[i].name))
		i++;
	if (i == (int) lengthof(kinds))
		return sc_compile_needs_executor(c, psprintf("aggregate %s", format_procedure(aggref->aggfnoid)));
	if (!sc_tally_describe_state(&state->state, kinds[i].kind, argtype, aggref->inputcollid, &why))
		return sc_compile_needs_executor(c, why);
	if (state->state.result != aggref->aggtype)
		return sc_compile_needs_executor(c, psprintf("aggregate %s", format_procedure(aggref->aggfnoid)));
	if (arg && !sc_compile_expr(c, arg, state->state.kind == SC_TALLY_COUNT, &state->arg))
		return false;
	if (aggref->aggfilter == NULL)
		return true;
	c->plan->throws = true;
	return sc_compile_expr(c, (Node *) aggref->aggfilter, false, &state->filter);
}

static bool
compile_states(ScCompiling *c, const ScCompiled *compiled)
{
	c->plan->nstates = compiled->nstates;
	c->plan->states = palloc0(sizeof(ScPlanState) * Max(compiled->nstates, 1));
	for (int i = 0; i < compiled->nstates; i++)
		if (!compile_state(c, castNode(Aggref, compiled->data[compiled->nkeys + i].expr),
						   &c->plan->states[i]))
			return false;
	return true;
}

/*
 * Can the columns be read without PostgreSQL's own parsers?  And are they all
 * that the query reads?  What is wrong in one of them is wrong for its rows.
 */
static bool
check_columns(ScCompiling *c, const ScCompiled *compiled)
{
	if (!bms_equal(c->plan->columns, compiled->columns))
		return sc_compile_needs_executor(c, "a column that it reads in passing");
	for (int i = 0; i < c->stream->ncolumns; i++)
	{
		const ScColumn *column = &c->stream->columns[i];

		if (bms_is_member(column->attnum, c->plan->columns) && !sc_decode_quick_can(column))
			return sc_compile_needs_executor(c, psprintf("column \"%s\" of type %s", column->name,
											  format_type_be(column->type)));
	}
	return true;
}

ScTallyPlan *
sc_compile_tally(const ScStream *stream, const Query *original, const char **why)
{
	Query	   *query = copyObject(unconstify(Query *, original));
	ScCompiled *compiled = sc_compile(original);
	ScCompiling	c = {.stream = stream};

	sc_flatten_group(query);
	c.plan = palloc0(sizeof(ScTallyPlan));
	c.plan->natts = stream->natts;
	*why = sc_compile_from(query, stream->relid, &c.from);
	if (*why != NULL)
		return NULL;
	if (compile_filters(&c) && compile_token(&c) && compile_windows(&c) &&
		compile_keys(&c, compiled) && compile_states(&c, compiled) &&
		check_windows_told_apart(&c) && check_columns(&c, compiled))
		return c.plan;
	*why = c.why;
	return NULL;
}
