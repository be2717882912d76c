/*-------------------------------------------------------------------------
 *
 * tally_state.c
 *		The states of count, sum, min and max, as PostgreSQL's have them.
 *
 * A state says what the aggregate of the same name says of the same rows.
 * What the aggregate raises an ERROR for while it sees a row is marked here,
 * and raised when the result is asked for; no later row takes it back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "compat.h"
#include "tally_state.h"

/* The two marks of a state, of which a byte has those of four. */
#define MARK_SEEN 1
#define MARK_OVERFLOW 2
#define STATES_PER_BYTE 4

static inline bool
has_mark(const uint8 *marks, int state, int mark)
{
	return (marks[state / STATES_PER_BYTE] >> (state % STATES_PER_BYTE * 2) & mark) != 0;
}

static inline void
set_mark(uint8 *marks, int state, int mark)
{
	marks[state / STATES_PER_BYTE] |= mark << (state % STATES_PER_BYTE * 2);
}

/* ----------------------------------------------------------------
 * The plan
 * ----------------------------------------------------------------
 */

static ScStateStep
step_of(const ScTallyState *state, bool *is_signed)
{
	ScStateStep step = SC_STEP_COUNT;

	switch (state->kind)
	{
		case SC_TALLY_COUNT:
			return state->type == NULL ? SC_STEP_COUNT_ROWS : SC_STEP_COUNT;
		case SC_TALLY_SUM:
			(void) sc_tally_sum_of(state->type->type_id, &step);
			return step;
		default:
			return sc_tally_is_word(state->type, is_signed) ?
				SC_STEP_EXTREME_WORD : SC_STEP_EXTREME_DATUM;
	}
}

void
sc_tally_state_plan(ScStatePlan *plan, int nstates, const ScTallyState *states,
					MemoryContext cx)
{
	memset(plan, 0, sizeof(ScStatePlan));
	plan->nstates = nstates;
	plan->nmarks = (nstates + STATES_PER_BYTE - 1) / STATES_PER_BYTE;
	plan->states = MemoryContextAllocZero(cx, sizeof(ScStatePlanned) * Max(nstates, 1));
	for (int i = 0; i < nstates; i++)
	{
		ScStatePlanned *planned = &plan->states[i];

		planned->state = states[i];
		planned->step = step_of(&states[i], &planned->is_signed);
		planned->word = plan->nwords;
		plan->nwords += planned->step == SC_STEP_SUM_INT8 ? 2 : 1;
		if (planned->step == SC_STEP_SUM_NUMERIC ||
			(planned->step == SC_STEP_EXTREME_DATUM && !states[i].type->typbyval))
			plan->by_reference = true;
	}
}

/* ----------------------------------------------------------------
 * Adding
 * ----------------------------------------------------------------
 */

/* Keep a value that has no room in a word: where the last one was, if it fits. */
static void
keep_bytes(uint64 *word, bool seen, MemoryContext values, const void *bytes, Size size)
{
	void	   *place;

	if (!seen)
		place = MemoryContextAlloc(values, size);
	else
		place = repalloc(DatumGetPointer((Datum) *word), size);
	memcpy(place, bytes, size);
	*word = (uint64) PointerGetDatum(place);
}

static void
keep_datum(uint64 *word, bool seen, MemoryContext values,
		   const TypeCacheEntry *type, Datum value)
{
	if (type->typbyval)
	{
		*word = (uint64) value;
		return;
	}
	if (type->typlen == -1 && VARATT_IS_EXTENDED(DatumGetPointer(value)))
		value = PointerGetDatum(detoast_attr((struct varlena *) DatumGetPointer(value)));
	keep_bytes(word, seen, values, DatumGetPointer(value),
			   datumGetSize(value, false, type->typlen));
}

/* False: it overflowed. */
static bool
add_int(uint64 *word, int64 value)
{
	int64		sum;
	bool		overflowed = pg_add_s64_overflow((int64) *word, value, &sum);

	*word = (uint64) sum;
	return !overflowed;
}

static void
add_wide(uint64 *words, uint64 low, uint64 high)
{
	words[0] += low;
	words[1] += high + (words[0] < low ? 1 : 0);
}

/* The first value is taken as it is: -0 is not 0 + -0. */
static bool
add_float4(uint64 *word, bool seen, float4 value)
{
	float4		old = DatumGetFloat4((Datum) *word);
	float4		sum = seen ? old + value : value;

	*word = (uint64) Float4GetDatum(sum);
	return !seen || !isinf(sum) || isinf(old) || isinf(value);
}

static bool
add_float8(uint64 *word, bool seen, float8 value)
{
	float8		old;
	float8		sum = value;

	if (seen)
	{
		memcpy(&old, word, sizeof(old));
		sum += old;
	}
	memcpy(word, &sum, sizeof(sum));
	return !seen || !isinf(sum) || isinf(old) || isinf(value);
}

static bool
add_numeric(uint64 *word, bool seen, MemoryContext values, Datum value)
{
	Numeric		sum = DatumGetNumeric(value);
	bool		overflowed = false;

	if (seen)
		sum = numeric_add_opt_error(DatumGetNumeric((Datum) *word), sum, &overflowed);
	if (!overflowed)
		keep_bytes(word, seen, values, sum, VARSIZE(sum));
	return !overflowed;
}

/*
 * Of two that are equal, and yet may differ, PostgreSQL's functions keep the
 * one that came last; only those of character(n) keep the first.
 */
static bool
stays(const ScStatePlanned *planned, uint64 word, Datum value)
{
	const ScTallyState *state = &planned->state;
	int			order;

	if (planned->step == SC_STEP_EXTREME_WORD)
	{
		uint64		a = sc_tally_word((Datum) word, state->type->typlen, planned->is_signed);
		uint64		b = sc_tally_word(value, state->type->typlen, planned->is_signed);

		return state->kind == SC_TALLY_MIN ? a <= b : a >= b;
	}
	order = DatumGetInt32(FunctionCall2Coll(&state->type->cmp_proc_finfo,
											state->collation, (Datum) word, value));
	if (order == 0)
		return state->type->type_id == BPCHAROID;
	return state->kind == SC_TALLY_MIN ? order < 0 : order > 0;
}

static inline void
add_extreme(const ScStatePlanned *planned, uint64 *word, bool seen,
			MemoryContext values, Datum value)
{
	if (!seen || !stays(planned, *word, value))
		keep_datum(word, seen, values, planned->state.type, value);
}

/* Add an argument; false: out of range. */
static inline bool
add_argument(const ScStatePlanned *planned, uint64 *words, bool seen,
			 MemoryContext values, Datum value)
{
	switch (planned->step)
	{
		case SC_STEP_COUNT_ROWS:
		case SC_STEP_COUNT:
			words[0]++;
			return true;
		case SC_STEP_SUM_INT2:
			return add_int(words, DatumGetInt16(value));
		case SC_STEP_SUM_INT4:
			return add_int(words, DatumGetInt32(value));
		case SC_STEP_SUM_INT8:
			{
				int64		number = DatumGetInt64(value);

				add_wide(words, (uint64) number, number < 0 ? PG_UINT64_MAX : 0);
				return true;
			}
		case SC_STEP_SUM_FLOAT4:
			return add_float4(words, seen, DatumGetFloat4(value));
		case SC_STEP_SUM_FLOAT8:
			return add_float8(words, seen, DatumGetFloat8(value));
		case SC_STEP_SUM_NUMERIC:
			return add_numeric(words, seen, values, value);
		case SC_STEP_EXTREME_WORD:
		case SC_STEP_EXTREME_DATUM:
			add_extreme(planned, words, seen, values, value);
			return true;
	}
	pg_unreachable();
}

void
sc_tally_state_add(const ScStatePlan *plan, const ScStatePlace *place,
				   const NullableDatum *args)
{
	for (int i = 0; i < plan->nstates; i++)
	{
		const ScStatePlanned *planned = &plan->states[i];

		if (planned->step != SC_STEP_COUNT_ROWS && args[i].isnull)
			continue;
		if (!add_argument(planned, place->words + planned->word,
						  has_mark(place->marks, i, MARK_SEEN), place->values,
						  args[i].value))
			set_mark(place->marks, i, MARK_OVERFLOW);
		set_mark(place->marks, i, MARK_SEEN);
	}
}

/* Add what another state has seen; false: out of range. */
static bool
merge_state(const ScStatePlanned *planned, uint64 *words, bool seen,
			MemoryContext values, const uint64 *from)
{
	float8		number;

	switch (planned->step)
	{
		case SC_STEP_COUNT_ROWS:
		case SC_STEP_COUNT:
		case SC_STEP_SUM_INT2:
		case SC_STEP_SUM_INT4:
			return add_int(words, (int64) from[0]);
		case SC_STEP_SUM_INT8:
			add_wide(words, from[0], from[1]);
			return true;
		case SC_STEP_SUM_FLOAT8:
			memcpy(&number, from, sizeof(number));
			return add_float8(words, seen, number);
		default:
			return add_argument(planned, words, seen, values, (Datum) from[0]);
	}
}

void
sc_tally_state_merge(const ScStatePlan *plan, const ScStatePlace *place,
					 const uint64 *words, const uint8 *marks)
{
	for (int i = 0; i < plan->nstates; i++)
	{
		const ScStatePlanned *planned = &plan->states[i];

		if (!has_mark(marks, i, MARK_SEEN))
			continue;
		if (!merge_state(planned, place->words + planned->word,
						 has_mark(place->marks, i, MARK_SEEN), place->values,
						 words + planned->word) ||
			has_mark(marks, i, MARK_OVERFLOW))
			set_mark(place->marks, i, MARK_OVERFLOW);
		set_mark(place->marks, i, MARK_SEEN);
	}
}

/* ----------------------------------------------------------------
 * Results
 * ----------------------------------------------------------------
 */

static void
raise_overflow(ScStateStep step)
{
	const char *message = "bigint out of range";

	if (step == SC_STEP_SUM_FLOAT4 || step == SC_STEP_SUM_FLOAT8)
		message = "value out of range: overflow";
	else if (step == SC_STEP_SUM_NUMERIC)
		message = "value overflows numeric format";
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("%s", message)));
}

static Datum
wide_to_numeric(const uint64 *words)
{
	int64		low = (int64) words[0];
	int64		high = (int64) words[1];
	Datum		base = NumericGetDatum(int64_to_numeric(INT64CONST(1) << 32));
	Datum		sum;

	if (high == (low < 0 ? -1 : 0))
		return NumericGetDatum(int64_to_numeric(low));

	sum = NumericGetDatum(int64_to_numeric(high));
	for (int shift = 32; shift >= 0; shift -= 32)
	{
		int64		digit = (int64) ((words[0] >> shift) & PG_UINT32_MAX);

		sum = DirectFunctionCall2(numeric_mul, sum, base);
		sum = DirectFunctionCall2(numeric_add, sum,
								  NumericGetDatum(int64_to_numeric(digit)));
	}
	return sum;
}

static Datum
result_of(const ScStatePlanned *planned, const uint64 *words)
{
	const TypeCacheEntry *type = planned->state.type;
	float8		number;

	switch (planned->step)
	{
		case SC_STEP_SUM_INT8:
			return wide_to_numeric(words);
		case SC_STEP_SUM_FLOAT4:
			return (Datum) words[0];
		case SC_STEP_SUM_FLOAT8:
			memcpy(&number, words, sizeof(number));
			return Float8GetDatum(number);
		case SC_STEP_SUM_NUMERIC:
		case SC_STEP_EXTREME_WORD:
		case SC_STEP_EXTREME_DATUM:
			return datumCopy((Datum) words[0], type->typbyval, type->typlen);
		default:
			return Int64GetDatum((int64) words[0]);
	}
}

void
sc_tally_state_results(const ScStatePlan *plan, const uint64 *words,
					   const uint8 *marks, Datum *values, bool *isnull)
{
	for (int i = 0; i < plan->nstates; i++)
	{
		const ScStatePlanned *planned = &plan->states[i];

		isnull[i] = planned->state.kind != SC_TALLY_COUNT && !has_mark(marks, i, MARK_SEEN);
		values[i] = (Datum) 0;
		if (has_mark(marks, i, MARK_OVERFLOW))
			raise_overflow(planned->step);
		if (!isnull[i])
			values[i] = result_of(planned, words + planned->word);
	}
}
