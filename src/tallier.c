/*-------------------------------------------------------------------------
 *
 * tallier.c
 *		One rollup's messages into its tally.
 *
 * Whatever could be in doubt is looked at before anything is added: a
 * message is tallied as a whole or not at all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "tallier_private.h"

/* The longest that the window's label and granularity can add to the keys. */
#define WINDOW_KEY_BYTES (SC_LABEL_LEN + SC_GRANULARITY_LEN)

/* ---------------------------------------------------------------------
 * One message
 * --------------------------------------------------------------------- */

/* The columns that expressions may read, into the slot. */
static bool
look_at_columns(ScTallier *t)
{
	TupleTableSlot *slot = t->econtext->ecxt_scantuple;
	int			attnum = -1;

	while ((attnum = bms_next_member(t->plan->columns, attnum)) >= 0)
	{
		const ScQuickValue *column = &t->columns[attnum - 1];

		if (column->doubt)
			return false;
		slot->tts_values[attnum - 1] = column->value;
		slot->tts_isnull[attnum - 1] = column->isnull;
	}
	return true;
}

/*
 * All of them are evaluated, whatever the first one says: the planner chooses
 * in which order the executor does, and so which one fails on a message.
 */
static bool
passes_all(ScTallier *t, List *filters)
{
	bool		passes = true;
	ListCell   *lc;

	foreach(lc, filters)
		if (!ExecQual(lfirst(lc), t->econtext))
			passes = false;
	return passes;
}

/* A column, the token, or an expression over them. */
static Datum
value_of(ScTallier *t, const ScPlanExpr *plan, ExprState *state, bool *isnull)
{
	TupleTableSlot *slot = t->econtext->ecxt_scantuple;

	if (plan->attnum == 0)
		return ExecEvalExprSwitchContext(state, t->econtext, isnull);
	*isnull = slot->tts_isnull[plan->attnum - 1];
	return slot->tts_values[plan->attnum - 1];
}

/* The chains that the message is counted in; false where there are none. */
static bool
find_windows(ScTallier *t, bool *doubt)
{
	const ScTallyPlan *plan = t->plan;
	TimestampTz time = 0;
	bool		isnull;

	t->first_chain = 0;
	t->end_chain = t->nchains;
	if (!plan->has_windows)
		return true;
	time = DatumGetTimestampTz(value_of(t, &plan->time, t->time, &isnull));
	if (isnull || TIMESTAMP_NOT_FINITE(time))
	{
		if (t->all_chain < 0)
			return false;
		t->first_chain = t->all_chain;
		t->end_chain = t->all_chain + 1;
		t->windows[t->all_chain] =
			plan->granularities[t->chains[t->all_chain].base].unit == SC_UNIT_ALL ?
			DT_NOBEGIN : SC_NO_WINDOW;
		return true;
	}
	for (int c = 0; c < t->nchains; c++)
	{
		ScChain    *chain = &t->chains[c];
		const ScGranularity *base = &plan->granularities[chain->base];

		(void) sc_window_find(base, &t->zone, time, &chain->window);
		/* Of a window without a beginning no time is known to derive from. */
		if (TIMESTAMP_NOT_FINITE(chain->window.start) && base->unit != SC_UNIT_ALL)
			*doubt = true;
		t->windows[c] = chain->window.start;
	}
	return t->nchains > 0;
}

static void
put_key(ScTallier *t, int i, const char *token, size_t token_len)
{
	const ScPlanExpr *plan = &t->plan->keys[i].value;
	bool		as_bytes = t->plan->keys[i].key.kind == SC_TALLY_BYTES;
	Datum		value;
	bool		isnull;

	if (as_bytes && plan->attnum > t->plan->natts)
	{
		sc_tally_key_bytes(t->tally, token, token_len);
		return;
	}
	if (as_bytes && plan->attnum > 0)
	{
		const ScQuickValue *column = &t->columns[plan->attnum - 1];

		if (column->isnull)
			sc_tally_key_null(t->tally);
		else
			sc_tally_key_bytes(t->tally, column->text, column->len);
		return;
	}
	value = value_of(t, plan, t->keys[i], &isnull);
	if (isnull)
		sc_tally_key_null(t->tally);
	else
		sc_tally_key_datum(t->tally, value);
}

/* Keys from the first that differs, or from the beginning. */
static void
put_keys(ScTallier *t, bool fixed, const char *token, size_t token_len)
{
	int			number = 0;

	if (fixed)
		sc_tally_key_begin(t->tally);
	else
		sc_tally_key_rewind(t->tally, t->fixed_keys);
	for (int i = 0; i < t->plan->nkeys; i++)
	{
		if (t->plan->keys[i].kind != SC_KEY_EXPR)
			continue;
		if ((number++ < t->fixed_keys) == fixed)
			put_key(t, i, token, token_len);
	}
}

static void
put_inputs(ScTallier *t, bool of_token)
{
	for (int i = 0; i < t->plan->nstates; i++)
	{
		const ScPlanState *state = &t->plan->states[i];
		NullableDatum *input = &t->inputs[i];

		if ((state->arg.of_token || state->filter.of_token) != of_token)
			continue;
		input->isnull = t->arg_filters[i] != NULL && !ExecQual(t->arg_filters[i], t->econtext);
		if (!input->isnull && state->arg.expr != NULL)
			input->value = value_of(t, &state->arg, t->args[i], &input->isnull);
	}
}

static bool
keys_fit(const ScTallier *t)
{
	return sc_tally_key_size(t->tally) <= SC_MAX_KEY_BYTES - WINDOW_KEY_BYTES;
}

static void
add(ScTallier *t)
{
	t->adding = true;
	for (int c = t->first_chain; c < t->end_chain; c++)
		sc_tally_add(t->tally, c, t->windows[c], t->inputs);
	t->adding = false;
}

static bool
token_text(ScTallier *t, const char **text, size_t *len)
{
	const ScPlanExpr *plan = &t->plan->token_text;
	Datum		value;
	bool		isnull;
	struct varlena *varlena;

	if (plan->attnum != 0)
	{
		const ScQuickValue *column = &t->columns[plan->attnum - 1];

		*text = column->text;
		*len = column->len;
		return !column->isnull;
	}
	value = value_of(t, plan, t->token_text, &isnull);
	if (isnull)
		return false;
	varlena = PG_DETOAST_DATUM_PACKED(value);
	*text = VARDATA_ANY(varlena);
	*len = VARSIZE_ANY_EXHDR(varlena);
	return true;
}

/* The token's bytes, folded; as a Datum, too, where it is wanted. */
static const char *
token_bytes(ScTallier *t, const ScToken *token, size_t *len)
{
	Size		size = VARHDRSZ + SC_TOKEN_FOLD_MAX(token->len);
	TupleTableSlot *slot = t->econtext->ecxt_scantuple;

	if (token->as_is && !t->token_datum)
	{
		*len = token->len;
		return token->text;
	}
	if (size > t->token_size)
	{
		t->token_size = Max(size, 1024);
		if (t->token_buf != NULL)
			pfree(t->token_buf);
		t->token_buf = NULL;
		t->token_buf = MemoryContextAlloc(GetMemoryChunkContext(t), t->token_size);
	}
	*len = sc_token_fold(token, VARDATA(t->token_buf), size - VARHDRSZ);
	SET_VARSIZE(t->token_buf, VARHDRSZ + *len);
	slot->tts_values[t->plan->natts] = PointerGetDatum(t->token_buf);
	slot->tts_isnull[t->plan->natts] = false;
	return VARDATA(t->token_buf);
}

/*
 * All tokens of a text: look at each, or count each.  -1: one is in doubt;
 * else how many are counted.
 */
static int64
go_through_tokens(ScTallier *t, const char *text, size_t len, bool only_look)
{
	ScTokens	tokens;
	ScToken		token;
	int64		n = 0;

	sc_token_begin(&tokens, t->plan->token_kind, text, len);
	while (sc_token_next(&tokens, &token))
	{
		size_t		bytes_len;
		const char *bytes = token_bytes(t, &token, &bytes_len);

		if (!passes_all(t, t->token_filters))
			continue;
		put_keys(t, false, bytes, bytes_len);
		if (t->token_inputs)
			put_inputs(t, true);
		if (only_look && !keys_fit(t))
			return -1;
		if (!only_look)
			add(t);
		n++;
	}
	return n;
}

static ScTaken
take_tokens(ScTallier *t)
{
	const char *text;
	size_t		len;
	int64		n;

	if (!token_text(t, &text, &len))
		return SC_TAKEN_FILTERED;
	/* No token is longer than its text: mostly, then, none can be too long. */
	if (t->token_twice ||
		sc_tally_key_size(t->tally) + SC_TOKEN_FOLD_MAX(len) > SC_MAX_KEY_BYTES - WINDOW_KEY_BYTES)
	{
		n = go_through_tokens(t, text, len, true);
		if (n <= 0)
			return n < 0 ? SC_TAKEN_DOUBT : SC_TAKEN_FILTERED;
	}
	return go_through_tokens(t, text, len, false) > 0 ? SC_TAKEN_COUNTED : SC_TAKEN_FILTERED;
}

ScTaken
sc_tallier_take(ScTallier *t, const ScQuickValue *columns)
{
	bool		doubt = false;

	t->columns = columns;
	if (!look_at_columns(t))
		return SC_TAKEN_DOUBT;
	if (t->plan->throws)
		ResetExprContext(t->econtext);
	if (!passes_all(t, t->filters))
		return SC_TAKEN_FILTERED;

	/* The executor may make tokens first, and fail on one. */
	if (!find_windows(t, &doubt))
		return t->token_text || t->token_filters ? SC_TAKEN_DOUBT : SC_TAKEN_FILTERED;
	if (doubt)
		return SC_TAKEN_DOUBT;
	put_keys(t, true, NULL, 0);
	put_inputs(t, false);
	if (!keys_fit(t))
		return SC_TAKEN_DOUBT;
	if (t->plan->has_token)
		return take_tokens(t);
	add(t);
	return SC_TAKEN_COUNTED;
}

bool
sc_tallier_is_adding(const ScTallier *tallier)
{
	return tallier->adding;
}

int
sc_tallier_chains(const ScTallier *tallier)
{
	return tallier->nchains;
}

ScTally *
sc_tallier_tally(ScTallier *tallier)
{
	return tallier->tally;
}

void
sc_tallier_forget(ScTallier *tallier)
{
	sc_tally_forget(tallier->tally);
}
