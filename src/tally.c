/*-------------------------------------------------------------------------
 *
 * tally.c
 *		Keys and windows to the states of aggregates.
 *
 * Entries are laid one after the other into chunks and never move.  They are
 * found by an open-addressing table of (hash, reference) with linear probing,
 * eight bytes each; the place is given by the first bits of the hash, so the
 * table is in the order of the hashes, and doubling it is one pass over both.
 *
 * Owns: all memory below its context.  A tally that is forgotten keeps as
 * much as it has just needed: the next batch is likely to be of that size.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tally_private.h"

#define MIN_TABLE_BITS 8
#define MAX_TABLE_BITS 31

/* More new entries than this between two looks at sc_tally_memory_next() are rare. */
#define ENTRIES_AT_ONCE 1024

/* References count in these. */
#define UNITS_PER_CHUNK (SC_TALLY_CHUNK / MAXIMUM_ALIGNOF)
#define MAX_CHUNKS (int) (((uint64) PG_UINT32_MAX + 1) / UNITS_PER_CHUNK)

/* The chunks of values are no larger than those of entries. */
#define VALUES_SIZES 0, 8 * 1024, SC_TALLY_CHUNK

/* Callers keep to SC_MAX_KEY_BYTES, so this is far; it leaves room for the states. */
#define MAX_KEYS_SIZE (SC_TALLY_CHUNK / 2)

/* ----------------------------------------------------------------
 * Chunks
 * ----------------------------------------------------------------
 */

static inline ScTallyEntry *
entry_at(const ScTally *tally, uint32 ref)
{
	return (ScTallyEntry *) (tally->chunks[ref / UNITS_PER_CHUNK].bytes +
							 (Size) (ref % UNITS_PER_CHUNK) * MAXIMUM_ALIGNOF);
}

/* The next spare chunk, or a new one. */
static void
next_chunk(ScTally *tally)
{
	int			next = tally->chunk + 1;

	if (next == tally->nchunks)
	{
		if (next == MAX_CHUNKS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a tally cannot hold more entries")));
		if (next == tally->max_chunks)
		{
			tally->chunks = repalloc_huge(tally->chunks, sizeof(ScTallyChunk) * next * 2);
			tally->max_chunks = next * 2;
		}
		tally->chunks[next].bytes = MemoryContextAlloc(tally->cx, SC_TALLY_CHUNK);
		tally->nchunks++;
	}
	tally->chunks[next].end = SC_TALLY_CHUNK_BEGIN;
	tally->chunk = next;
}

/* What was sorted is not all any more. */
static void
drop_order(ScTally *tally)
{
	if (tally->sorted != NULL)
		pfree(tally->sorted);
	tally->sorted = NULL;
}

/* Give the draft its place. */
static ScTallyEntry *
place_draft(ScTally *tally, uint32 *ref)
{
	Size		words = sizeof(uint64) * tally->states.nwords;
	Size		size = MAXALIGN(tally->draft_marks[tally->nkeys].offset);
	ScTallyChunk *chunk;
	ScTallyEntry *entry;

	drop_order(tally);
	if (tally->chunk < 0 || tally->chunks[tally->chunk].end + words + size > SC_TALLY_CHUNK)
		next_chunk(tally);

	chunk = &tally->chunks[tally->chunk];
	entry = (ScTallyEntry *) (chunk->bytes + chunk->end + words);
	*ref = (uint32) (tally->chunk * (Size) UNITS_PER_CHUNK + (chunk->end + words) / MAXIMUM_ALIGNOF);
	memset((char *) entry - words, 0, words);
	memcpy(entry, tally->draft, tally->draft_marks[tally->nkeys].offset);
	chunk->end += words + size;
	return entry;
}

/* ----------------------------------------------------------------
 * The table
 * ----------------------------------------------------------------
 */

static inline Size
table_size(int bits)
{
	return sizeof(ScTallySlot) << bits;
}

static ScTallySlot *
alloc_table(ScTally *tally, int bits)
{
	return MemoryContextAllocExtended(tally->cx, table_size(bits),
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* It is doubled rather than filled further than three quarters. */
static inline int64
table_limit(const ScTally *tally)
{
	return (INT64CONST(3) << tally->table_bits) / 4;
}

static pg_noinline void
double_table(ScTally *tally)
{
	int			bits = tally->table_bits + 1;
	uint32		mask;
	ScTallySlot *table;

	if (bits > MAX_TABLE_BITS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a tally cannot hold more entries")));
	table = alloc_table(tally, bits);
	mask = ((uint32) 1 << bits) - 1;
	for (Size i = 0; i < (Size) 1 << tally->table_bits; i++)
	{
		uint32		at = tally->table[i].hash >> (32 - bits);

		if (tally->table[i].ref == 0)
			continue;
		while (table[at].ref != 0)
			at = (at + 1) & mask;
		table[at] = tally->table[i];
	}
	pfree(tally->table);
	tally->table = table;
	tally->table_bits = bits;
}

/* Is the draft, which has the same hash, this entry once more? */
static inline bool
is_draft(const ScTally *tally, const ScTallyEntry *entry)
{
	const ScTallyEntry *draft = tally->draft;

	return entry->window == draft->window && entry->chain == draft->chain &&
		sc_tally_same_keys(tally, entry, draft);
}

/* The entry that the draft is, or becomes. */
static inline ScTallyEntry *
find_or_place(ScTally *tally, uint32 hash)
{
	uint32		mask = ((uint32) 1 << tally->table_bits) - 1;
	uint32		at = hash >> (32 - tally->table_bits);
	ScTallyEntry *entry;

	for (; tally->table[at].ref != 0; at = (at + 1) & mask)
	{
		if (tally->table[at].hash != hash)
			continue;
		entry = entry_at(tally, tally->table[at].ref);
		if (likely(is_draft(tally, entry)))
			return entry;
	}
	if (unlikely(tally->count >= table_limit(tally)))
	{
		double_table(tally);
		return find_or_place(tally, hash);
	}
	entry = place_draft(tally, &tally->table[at].ref);
	tally->table[at].hash = hash;
	tally->count++;
	return entry;
}

void
sc_tally_add(ScTally *tally, int chain, TimestampTz window, const NullableDatum *args)
{
	uint32		hash = sc_tally_key_hash(tally, chain, window);
	ScTallyEntry *draft = tally->draft;
	ScTallyEntry *entry;
	ScStatePlace place;
	MemoryContext caller;
	Size		size = tally->draft_marks[tally->nkeys].offset - tally->draft_marks[0].offset;

	Assert(tally->drafted == tally->nkeys);
	Assert(chain >= 0 && chain <= PG_UINT16_MAX);
	if (unlikely(size > MAX_KEYS_SIZE))
		elog(ERROR, "%zu bytes of keys are too many for a tally", size);
	draft->window = window;
	draft->chain = (uint16) chain;
	draft->size = (uint16) size;
	entry = find_or_place(tally, hash);

	place.words = sc_tally_words_of(tally, entry);
	place.marks = entry->marks;
	place.values = tally->values;
	caller = MemoryContextSwitchTo(tally->scratch);
	sc_tally_state_add(&tally->states, &place, args);
	MemoryContextSwitchTo(caller);
	sc_tally_clean(tally);
}

/* ----------------------------------------------------------------
 * The whole
 * ----------------------------------------------------------------
 */

ScTally *
sc_tally_create(int nkeys, const ScTallyKey *keys,
				int nstates, const ScTallyState *states, MemoryContext parent)
{
	MemoryContext cx = AllocSetContextCreate(parent, "streamcount tally",
											 ALLOCSET_SMALL_SIZES);
	ScTally    *tally = MemoryContextAllocZero(cx, sizeof(ScTally));

	tally->cx = cx;
	tally->values = AllocSetContextCreate(cx, "streamcount tally values", VALUES_SIZES);
	tally->scratch = AllocSetContextCreate(cx, "streamcount tally scratch",
										   ALLOCSET_SMALL_SIZES);
	sc_tally_state_plan(&tally->states, nstates, states, cx);
	sc_tally_key_prepare(tally, nkeys, keys);
	tally->table_bits = MIN_TABLE_BITS;
	tally->table = alloc_table(tally, tally->table_bits);
	tally->max_chunks = 8;
	tally->chunks = MemoryContextAlloc(cx, sizeof(ScTallyChunk) * tally->max_chunks);
	tally->chunk = -1;
	return tally;
}

int64
sc_tally_count(const ScTally *tally)
{
	return tally->count;
}

Size
sc_tally_memory(const ScTally *tally)
{
	return MemoryContextMemAllocated(tally->cx, true);
}

/*
 * With a chunk more, a table that is there beside the one that it replaces,
 * if that can come, and the array that sorting takes.
 */
Size
sc_tally_memory_next(const ScTally *tally)
{
	Size		size = sc_tally_memory(tally);

	if (tally->chunk + 1 == tally->nchunks)
		size += SC_TALLY_CHUNK;
	if (tally->states.by_reference)
		size += SC_TALLY_CHUNK;
	if (tally->count + ENTRIES_AT_ONCE > table_limit(tally))
		size += table_size(tally->table_bits + 1);
	if (tally->sorted == NULL)
		size += sizeof(ScTallySorted) * tally->count;
	return size;
}

void
sc_tally_forget(ScTally *tally)
{
	int			bits = tally->table_bits;

	drop_order(tally);
	MemoryContextReset(tally->values);
	while (tally->nchunks > tally->chunk + 1)
		pfree(tally->chunks[--tally->nchunks].bytes);
	tally->chunk = -1;

	while (tally->table_bits > MIN_TABLE_BITS && tally->count < table_limit(tally) / 4)
		tally->table_bits--;
	if (tally->table_bits < bits)
		tally->table = repalloc_huge(tally->table, table_size(tally->table_bits));
	memset(tally->table, 0, table_size(tally->table_bits));
	tally->count = 0;
	tally->drafted = 0;
}

/* ----------------------------------------------------------------
 * Entries
 * ----------------------------------------------------------------
 */

int
sc_tally_chain(const ScTallyEntry *entry)
{
	return entry->chain;
}

TimestampTz
sc_tally_window(const ScTallyEntry *entry)
{
	return entry->window;
}

bool
sc_tally_same_keys(const ScTally *tally, const ScTallyEntry *a, const ScTallyEntry *b)
{
	const char *a_keys = sc_tally_keys_of(tally, a);
	const char *b_keys = sc_tally_keys_of(tally, b);

	if (a->size == b->size && memcmp(a_keys, b_keys, a->size) == 0)
		return true;
	return tally->datums && sc_tally_key_equal(tally, a_keys, b_keys);
}

void
sc_tally_states(const ScTally *tally, const ScTallyEntry *entry, Datum *values, bool *isnull)
{
	sc_tally_state_results(&tally->states, sc_tally_words_of(tally, entry),
						   entry->marks, values, isnull);
}
