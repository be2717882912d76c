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

/* Give a draft of this size its place. */
static ScTallyEntry *
place_draft(ScTally *tally, const ScTallyEntry *draft, Size draft_size, uint32 *ref)
{
	Size		words = sizeof(uint64) * tally->states.nwords;
	Size		size = MAXALIGN(draft_size);
	ScTallyChunk *chunk;
	ScTallyEntry *entry;

	drop_order(tally);
	if (tally->chunk < 0 || tally->chunks[tally->chunk].end + words + size > SC_TALLY_CHUNK)
		next_chunk(tally);

	chunk = &tally->chunks[tally->chunk];
	entry = (ScTallyEntry *) (chunk->bytes + chunk->end + words);
	*ref = (uint32) (tally->chunk * (Size) UNITS_PER_CHUNK + (chunk->end + words) / MAXIMUM_ALIGNOF);
	memset((char *) entry - words, 0, words);
	memcpy(entry, draft, draft_size);
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

bool
sc_tally_same_keys(const ScTally *tally, const ScTallyEntry *a, const ScTallyEntry *b)
{
	const char *a_keys = sc_tally_keys_of(tally, a);
	const char *b_keys = sc_tally_keys_of(tally, b);

	if (a->size == b->size && memcmp(a_keys, b_keys, a->size) == 0)
		return true;
	return tally->datums && sc_tally_key_equal(tally, a_keys, b_keys);
}

/* Is a draft that has the same hash this entry once more? */
static inline bool
is_draft(const ScTally *tally, const ScTallyEntry *draft, const ScTallyEntry *entry)
{
	return entry->window == draft->window && entry->chain == draft->chain &&
		sc_tally_same_keys(tally, entry, draft);
}

/* The entry that a draft is, or becomes. */
static inline ScTallyEntry *
find_or_place(ScTally *tally, uint32 hash, const ScTallyEntry *draft, Size size)
{
	uint32		mask = ((uint32) 1 << tally->table_bits) - 1;
	uint32		at = hash >> (32 - tally->table_bits);
	ScTallyEntry *entry;

	for (; tally->table[at].ref != 0; at = (at + 1) & mask)
	{
		if (tally->table[at].hash != hash)
			continue;
		entry = entry_at(tally, tally->table[at].ref);
		if (likely(is_draft(tally, draft, entry)))
			return entry;
	}
	if (unlikely(tally->count >= table_limit(tally)))
	{
		double_table(tally);
		return find_or_place(tally, hash, draft, size);
	}
	entry = place_draft(tally, draft, size, &tally->table[at].ref);
	tally->table[at].hash = hash;
	tally->count++;
	return entry;
}

static inline void
add_draft(ScTally *tally, uint32 hash, const ScTallyEntry *draft, Size size,
		  const NullableDatum *args)
{
	ScTallyEntry *entry = find_or_place(tally, hash, draft, size);
	ScStatePlace place;
	MemoryContext caller;

	place.words = sc_tally_words_of(tally, entry);
	place.marks = entry->marks;
	place.values = tally->values;
	caller = MemoryContextSwitchTo(tally->scratch);
	sc_tally_state_add(&tally->states, &place, args);
	MemoryContextSwitchTo(caller);
	sc_tally_clean(tally);
}

/* ----------------------------------------------------------------
 * Waiting
 *
 * The places that an occurrence is counted in are mostly out of the cache:
 * first its slot of the table, then the entry that this refers to.  So each is
 * fetched while others, that came before, are counted.
 * ----------------------------------------------------------------
 */

static inline ScTallyWaiting *
waiting_at(const ScTally *tally, uint64 number)
{
	return &tally->waiting[number % SC_TALLY_WAITING];
}

static inline void
end_wait(ScTally *tally, uint64 number)
{
	ScTallyWaiting *waiting = waiting_at(tally, number);

	add_draft(tally, waiting->hash, (ScTallyEntry *) waiting->draft, waiting->size,
			  waiting->args);
}

static void
end_all_waits(ScTally *tally)
{
	uint64		first = tally->waited > SC_TALLY_WAITING ? tally->waited - SC_TALLY_WAITING : 0;

	for (uint64 i = first; i < tally->waited; i++)
		end_wait(tally, i);
	tally->waited = 0;
}

/* By now the slot is there, and tells where the entry is: in up to two lines. */
static inline void
fetch_entry(const ScTally *tally, uint64 number)
{
	uint32		mask = ((uint32) 1 << tally->table_bits) - 1;
	uint32		hash = waiting_at(tally, number)->hash;
	uint32		at = hash >> (32 - tally->table_bits);
	const ScTallyEntry *entry;

	while (tally->table[at].ref != 0 && tally->table[at].hash != hash)
		at = (at + 1) & mask;
	if (tally->table[at].ref == 0)
		return;
	entry = entry_at(tally, tally->table[at].ref);
	__builtin_prefetch(sc_tally_words_of(tally, entry));
	__builtin_prefetch(sc_tally_keys_of(tally, entry));
}

static inline void
wait_for_memory(ScTally *tally, uint32 hash, Size size, const NullableDatum *args)
{
	uint64		number = tally->waited++;
	ScTallyWaiting *waiting = waiting_at(tally, number);

	if (number >= SC_TALLY_WAITING)
		end_wait(tally, number);
	waiting->hash = hash;
	waiting->size = (uint32) size;
	memcpy(waiting->draft, tally->draft, size);
	memcpy(waiting->args, args, sizeof(NullableDatum) * tally->states.nstates);
	__builtin_prefetch(&tally->table[hash >> (32 - tally->table_bits)]);
	if (number >= SC_TALLY_WAITING / 2)
		fetch_entry(tally, number - SC_TALLY_WAITING / 2);
}

void
sc_tally_add(ScTally *tally, int chain, TimestampTz window, const NullableDatum *args)
{
	uint32		hash = sc_tally_key_hash(tally, chain, window);
	ScTallyEntry *draft = tally->draft;
	Size		size = tally->draft_marks[tally->nkeys].offset;
	Size		keys_size = size - tally->draft_marks[0].offset;

	Assert(tally->drafted == tally->nkeys);
	Assert(chain >= 0 && chain <= PG_UINT16_MAX);
	if (unlikely(keys_size > MAX_KEYS_SIZE))
		elog(ERROR, "%zu bytes of keys are too many for a tally", keys_size);
	draft->window = window;
	draft->chain = (uint16) chain;
	draft->size = (uint16) keys_size;
	if (tally->waiting != NULL && size <= SC_TALLY_WAITING_SIZE)
		wait_for_memory(tally, hash, size, args);
	else
		add_draft(tally, hash, draft, size, args);
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
	if (!tally->states.by_reference && nstates <= SC_TALLY_WAITING_STATES)
		tally->waiting = MemoryContextAllocZero(cx, sizeof(ScTallyWaiting) * SC_TALLY_WAITING);
	tally->max_chunks = 8;
	tally->chunks = MemoryContextAlloc(cx, sizeof(ScTallyChunk) * tally->max_chunks);
	tally->chunk = -1;
	return tally;
}

int64
sc_tally_count(ScTally *tally)
{
	end_all_waits(tally);
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
	tally->waited = 0;
	tally->drafted = 0;
}
