/*-------------------------------------------------------------------------
 *
 * tallier_create.c
 *		A rollup's plan made ready to tally by.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"

#include "tallier_private.h"

/* Does the granularity follow from a finer one?  Of two that are alike, from the first. */
static bool
is_derived(const ScTallyPlan *plan, int g)
{
	for (int h = 0; h < plan->ngranularities; h++)
		if (h != g && sc_window_nests(&plan->granularities[g], &plan->granularities[h]) &&
			(h < g || !sc_window_nests(&plan->granularities[h], &plan->granularities[g])))
			return true;
	return false;
}

static void
make_chains(ScTallier *t)
{
	const ScTallyPlan *plan = t->plan;

	t->all_chain = -1;
	t->chains = palloc0(sizeof(ScChain) * Max(plan->ngranularities, 1));
	for (int g = 0; g < plan->ngranularities; g++)
	{
		if (is_derived(plan, g))
			continue;
		t->chains[t->nchains].base = g;
		t->chains[t->nchains++].derived = palloc0(sizeof(int) * plan->ngranularities);
	}
	for (int g = 0; g < plan->ngranularities; g++)
	{
		ScChain    *chain = t->chains;

		while (!sc_window_nests(&plan->granularities[g], &plan->granularities[chain->base]))
			chain++;
		if (chain->base != g)
			chain->derived[chain->nderived++] = g;
		if (plan->granularities[g].unit == SC_UNIT_ALL)
			t->all_chain = chain - t->chains;
	}
}

static ExprState *
init_expr(const ScPlanExpr *expr)
{
	return expr->expr == NULL || expr->attnum != 0 ? NULL : ExecInitExpr(expr->expr, NULL);
}

static TupleTableSlot *
make_slot(const ScTallyPlan *plan, const ScStream *stream)
{
	TupleDesc	desc = CreateTemplateTupleDesc(plan->natts + 1);
	TupleTableSlot *slot;

	/* columns that nobody reads, or that were dropped, are not looked at */
	for (int i = 1; i <= plan->natts + 1; i++)
		TupleDescInitEntry(desc, i, NULL, TEXTOID, -1, 0);
	for (int i = 0; i < stream->ncolumns; i++)
	{
		const ScColumn *column = &stream->columns[i];

		TupleDescInitEntry(desc, column->attnum, column->name, column->type, column->typmod, 0);
	}
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	memset(slot->tts_isnull, true, sizeof(bool) * desc->natts);
	slot->tts_isnull[plan->natts] = false;	/* a token never is */
	return ExecStoreVirtualTuple(slot);
}

/* Each by itself, see passes_all(). */
static List *
init_filters(List *filters)
{
	List	   *states = NIL;
	ListCell   *lc;

	foreach(lc, filters)
		states = lappend(states, ExecInitQual(list_make1(lfirst(lc)), NULL));
	return states;
}

static void
init_exprs(ScTallier *t, const ScStream *stream)
{
	const ScTallyPlan *plan = t->plan;

	t->econtext = CreateStandaloneExprContext();
	t->econtext->ecxt_scantuple = make_slot(plan, stream);
	t->filters = init_filters(plan->filters);
	t->token_filters = init_filters(plan->token_filters);
	t->token_text = init_expr(&plan->token_text);
	t->time = init_expr(&plan->time);
	t->keys = palloc0(sizeof(ExprState *) * plan->nkeys);
	t->args = palloc0(sizeof(ExprState *) * Max(plan->nstates, 1));
	t->arg_filters = palloc0(sizeof(ExprState *) * Max(plan->nstates, 1));
	for (int i = 0; i < plan->nkeys; i++)
		t->keys[i] = init_expr(&plan->keys[i].value);
	for (int i = 0; i < plan->nstates; i++)
	{
		t->args[i] = init_expr(&plan->states[i].arg);
		t->arg_filters[i] = plan->states[i].filter.expr ?
			ExecInitQual(list_make1(plan->states[i].filter.expr), NULL) : NULL;
	}
}

static ScTally *
make_tally(ScTallier *t, MemoryContext cx)
{
	const ScTallyPlan *plan = t->plan;
	ScTallyKey *keys = palloc(sizeof(ScTallyKey) * plan->nkeys);
	ScTallyState *states = palloc(sizeof(ScTallyState) * Max(plan->nstates, 1));
	int			nkeys = 0;

	for (int i = 0; i < plan->nkeys; i++)
		if (plan->keys[i].kind == SC_KEY_EXPR)
			keys[nkeys++] = plan->keys[i].key;
	for (int i = 0; i < plan->nstates; i++)
		states[i] = plan->states[i].state;
	return sc_tally_create(nkeys, keys, plan->nstates, states, cx);
}

/* What the token changes: everything else is done once a message. */
static void
find_token_work(ScTallier *t)
{
	const ScTallyPlan *plan = t->plan;

	t->token_datum = bms_is_member(plan->natts + 1, plan->datums);
	t->token_twice = plan->token_filters != NIL;
	for (int i = 0; i < plan->nkeys && !plan->keys[i].value.of_token; i++)
		if (plan->keys[i].kind == SC_KEY_EXPR)
			t->fixed_keys++;
	/* The token itself is as long as it is; of all else behind it that is to be seen. */
	for (int i = 0, number = 0; i < plan->nkeys; i++)
		if (plan->keys[i].kind == SC_KEY_EXPR && number++ >= t->fixed_keys &&
			plan->keys[i].value.attnum <= plan->natts)
			t->token_twice = true;
	for (int i = 0; i < plan->nstates; i++)
	{
		const ScPlanState *state = &plan->states[i];

		t->token_inputs |= state->arg.of_token || state->filter.of_token;
		t->token_twice |= (state->arg.of_token && t->args[i] != NULL) || state->filter.of_token;
	}
}

ScTallier *
sc_tallier_create(const ScTallyPlan *plan, const ScStream *stream, MemoryContext cx)
{
	MemoryContext old = MemoryContextSwitchTo(cx);
	ScTallier  *t = palloc0(sizeof(ScTallier));

	t->plan = plan;
	make_chains(t);
	if (plan->has_windows)
		sc_window_set_zone(&t->zone, plan->zone);
	else
		t->nchains = 1;
	init_exprs(t, stream);
	t->tally = make_tally(t, cx);
	t->inputs = palloc0(sizeof(NullableDatum) * Max(plan->nstates, 1));
	t->windows = palloc0(sizeof(TimestampTz) * Max(t->nchains, 1));
	find_token_work(t);
	MemoryContextSwitchTo(old);
	return t;
}
