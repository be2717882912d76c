/*-------------------------------------------------------------------------
 *
 * tally_state.h
 *		The states of aggregates: words, and marks beside them.
 *
 * Where they lie is the caller's affair.  A state has one or two words and
 * two marks; all zero, it has seen nothing.  What has no room in a word is
 * palloc'd in the context of values, and the word points to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TALLY_STATE_H
#define SC_TALLY_STATE_H

#include "tally.h"

/* What is done with an argument. */
typedef enum ScStateStep
{
	SC_STEP_COUNT_ROWS,
	SC_STEP_COUNT,
	SC_STEP_SUM_INT2,
	SC_STEP_SUM_INT4,
	SC_STEP_SUM_INT8,			/* two words: the sum in 128 bits */
	SC_STEP_SUM_FLOAT4,
	SC_STEP_SUM_FLOAT8,
	SC_STEP_SUM_NUMERIC,
	SC_STEP_EXTREME_WORD,		/* MIN and MAX, by order of the words */
	SC_STEP_EXTREME_DATUM		/* by the type's comparison */
} ScStateStep;

typedef struct ScStatePlanned
{
	ScTallyState state;
	ScStateStep step;
	int			word;			/* its first */
	bool		is_signed;		/* SC_STEP_EXTREME_WORD */
} ScStatePlanned;

typedef struct ScStatePlan
{
	int			nstates;
	int			nwords;
	int			nmarks;			/* bytes of marks */
	bool		by_reference;	/* some words are pointers */
	ScStatePlanned *states;
} ScStatePlan;

typedef struct ScStatePlace
{
	uint64	   *words;
	uint8	   *marks;
	MemoryContext values;
} ScStatePlace;

/*
 * Is a Datum of this type a number, and its order the number's?  Then
 * sc_tally_word() is the unsigned number that has the same order, whatever
 * the Datum has beyond its type's length.
 */
extern bool sc_tally_is_word(const TypeCacheEntry *type, bool *is_signed);

#define SC_TALLY_SIGN_BIT (UINT64CONST(1) << 63)

static inline uint64
sc_tally_word(Datum value, int16 typlen, bool is_signed)
{
	uint64		word;

	switch (typlen)
	{
		case sizeof(uint8):
			word = (uint8) value;
			break;
		case sizeof(uint16):
			word = is_signed ? (uint64) (int16) value : (uint16) value;
			break;
		case sizeof(uint32):
			word = is_signed ? (uint64) (int32) value : (uint32) value;
			break;
		default:
			word = (uint64) value;
	}
	return is_signed ? word ^ SC_TALLY_SIGN_BIT : word;
}

static inline Datum
sc_tally_unword(uint64 word, int16 typlen, bool is_signed)
{
	if (is_signed)
		word ^= SC_TALLY_SIGN_BIT;
	return typlen == sizeof(char) ? CharGetDatum((char) word) : (Datum) word;
}

/* The type of the sum, and what adds to it; InvalidOid: there is none here. */
extern Oid	sc_tally_sum_of(Oid argtype, ScStateStep *step);

extern void sc_tally_state_plan(ScStatePlan *plan, int nstates,
								const ScTallyState *states, MemoryContext cx);

/* These two may leave something in the current memory context. */
extern void sc_tally_state_add(const ScStatePlan *plan, const ScStatePlace *place,
							   const NullableDatum *args);
extern void sc_tally_state_merge(const ScStatePlan *plan, const ScStatePlace *place,
								 const uint64 *words, const uint8 *marks);

extern void sc_tally_state_results(const ScStatePlan *plan, const uint64 *words,
								   const uint8 *marks, Datum *values, bool *isnull);

#endif							/* SC_TALLY_STATE_H */
