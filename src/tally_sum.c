/*-------------------------------------------------------------------------
 *
 * tally_sum.c
 *		Several entries of a tally, added up.
 *
 * The states of a sum lie outside of the tally, so a coarser window can be
 * put together from the finer ones while the tally is walked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tally_private.h"

struct ScTallySum
{
	ScTally    *tally;
	ScStatePlace place;
};

ScTallySum *
sc_tally_sum_create(ScTally *tally, MemoryContext cx)
{
	ScTallySum *sum = MemoryContextAllocZero(cx, sizeof(ScTallySum));

	sum->tally = tally;
	sum->place.words = MemoryContextAllocZero(cx, sizeof(uint64) * Max(tally->states.nwords, 1));
	sum->place.marks = MemoryContextAllocZero(cx, Max(tally->states.nmarks, 1));
	sum->place.values = AllocSetContextCreate(cx, "streamcount sum", ALLOCSET_SMALL_SIZES);
	return sum;
}

void
sc_tally_sum_clear(ScTallySum *sum)
{
	memset(sum->place.words, 0, sizeof(uint64) * sum->tally->states.nwords);
	memset(sum->place.marks, 0, sum->tally->states.nmarks);
	MemoryContextReset(sum->place.values);
}

void
sc_tally_sum_add(ScTallySum *sum, const ScTallyEntry *entry)
{
	const ScTally *tally = sum->tally;
	MemoryContext caller = MemoryContextSwitchTo(tally->scratch);

	sc_tally_state_merge(&tally->states, &sum->place,
						 sc_tally_words_of(tally, entry), entry->marks);
	MemoryContextSwitchTo(caller);
	sc_tally_clean(tally);
}

void
sc_tally_sum_states(const ScTallySum *sum, Datum *values, bool *isnull)
{
	sc_tally_state_results(&sum->tally->states, sum->place.words, sum->place.marks,
						   values, isnull);
}
