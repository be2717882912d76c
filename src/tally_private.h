/*-------------------------------------------------------------------------
 *
 * tally_private.h
 *		What the files of the tally share.
 *
 * An entry, and what lies before it, in one of the tally's chunks:
 *
 *	 words of the states	 ScTallyEntry
 *	+-----+-----+----------++--------+-------+------+-------+------+
 *	|  0  |  1  |   ...    || window | chain | size | marks | keys |
 *	+-----+-----+----------++--------+-------+------+-------+------+
 *	                       8 bytes aligned
 *
 * The keys are put together in a draft: an entry that has all but a place.
 * So a key that must be aligned is so in both, and a new entry is a copy.
 *
 * A key is a byte that is 0 where it is NULL, and then, of
 *
 *	SC_TALLY_BYTES		length + 1 is that byte; or SC_TALLY_LONG, and four bytes
 *						of length follow; then the bytes
 *	SC_TALLY_WORD		eight bytes, that are in order as unsigned numbers
 *	SC_TALLY_DATUM		the Datum; or its bytes, aligned, not toasted
 *
 * so that none is the beginning of another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TALLY_PRIVATE_H
#define SC_TALLY_PRIVATE_H

#include "utils/memutils.h"

#include "compat.h"
#include "tally.h"
#include "tally_state.h"

struct ScTallyEntry
{
	TimestampTz window;
	uint16		chain;
	uint16		size;			/* of the keys */
	uint8		marks[FLEXIBLE_ARRAY_MEMBER];
};

/* The four words of SipHash. */
typedef struct ScSip
{
	uint64		v0,
				v1,
				v2,
				v3;
} ScSip;

/* Before a key of the draft: so it can be rewound to there. */
typedef struct ScDraftMark
{
	uint32		offset;			/* from the entry's beginning */
	uint32		counted;		/* bytes that sc_tally_key_size() counts */
	ScSip		sip;			/* of the keys before */
} ScDraftMark;

typedef struct ScKeyPlanned
{
	ScTallyKey	key;
	bool		is_signed;		/* SC_TALLY_WORD */
} ScKeyPlanned;

/* A key, read from an entry. */
typedef struct ScKeyRead
{
	bool		isnull;
	const char *bytes;			/* SC_TALLY_BYTES */
	size_t		len;
	uint64		word;			/* SC_TALLY_WORD */
	Datum		datum;			/* SC_TALLY_DATUM */
} ScKeyRead;

typedef struct ScTallySlot
{
	uint32		hash;
	uint32		ref;			/* eight bytes of the chunks; 0: free */
} ScTallySlot;

typedef struct ScTallyChunk
{
	char	   *bytes;
	Size		end;			/* of what is in use */
} ScTallyChunk;

typedef struct ScTallySorted
{
	uint64		word;			/* of the key that is sorted by just now */
	ScTallyEntry *entry;
} ScTallySorted;

/*
 * An occurrence that waits for its places in memory to come into the cache;
 * longer or wider ones do not wait.
 */
#define SC_TALLY_WAITING 16
#define SC_TALLY_WAITING_SIZE 128
#define SC_TALLY_WAITING_STATES 4

typedef struct ScTallyWaiting
{
	uint32		hash;
	uint32		size;
	NullableDatum args[SC_TALLY_WAITING_STATES];
	uint64		draft[SC_TALLY_WAITING_SIZE / sizeof(uint64)];
} ScTallyWaiting;

struct ScTally
{
	MemoryContext cx;			/* this, the table, the chunks, the order */
	MemoryContext values;		/* what states point to */
	MemoryContext scratch;		/* what functions of types leave behind */

	int			nkeys;
	ScKeyPlanned *keys;
	bool		datums;			/* one of them is SC_TALLY_DATUM */
	ScStatePlan states;

	ScTallyEntry *draft;
	Size		draft_size;
	int			drafted;		/* keys in it */
	ScDraftMark *draft_marks;	/* nkeys + 1 */

	ScTallyWaiting *waiting;	/* a ring; NULL: arguments may be gone too soon */
	uint64		waited;			/* have been put into it since it was empty */

	ScTallySlot *table;
	int			table_bits;		/* it has two to the power of this */
	int64		count;

	ScTallyChunk *chunks;
	int			nchunks;
	int			max_chunks;
	int			chunk;			/* in use; those after it are spare; -1: all */

	ScTallySorted *sorted;		/* NULL: not sorted */
	char	   *given;			/* text for sc_tally_keys() */
	Size		given_size;
};

#define SC_TALLY_CHUNK (64 * 1024)

/* No entry begins where a chunk does: so no reference to one is 0. */
#define SC_TALLY_CHUNK_BEGIN ((Size) MAXIMUM_ALIGNOF)

static inline const char *
sc_tally_keys_of(const ScTally *tally, const ScTallyEntry *entry)
{
	return (const char *) entry->marks + tally->states.nmarks;
}

static inline uint64 *
sc_tally_words_of(const ScTally *tally, const ScTallyEntry *entry)
{
	return (uint64 *) entry - tally->states.nwords;
}

/* After a call of a type's function, whatever it left in scratch */
static inline void
sc_tally_clean(const ScTally *tally)
{
	if (!tally->scratch->isReset)
		MemoryContextReset(tally->scratch);
}

/* The first byte of a key that is not NULL and tells nothing more */
#define SC_TALLY_PRESENT 1
/* Its length follows. */
#define SC_TALLY_LONG 255

extern void sc_tally_key_prepare(ScTally *tally, int nkeys, const ScTallyKey *keys);
extern uint32 sc_tally_key_hash(const ScTally *tally, int chain, TimestampTz window);

/* Read one key, and return where the next one is. */
extern const char *sc_tally_key_read(const ScKeyPlanned *key, const char *at, ScKeyRead *read);

/* Are these keys, which may be of different bytes, equal nevertheless? */
extern bool sc_tally_key_equal(const ScTally *tally, const char *a, const char *b);

#endif							/* SC_TALLY_PRIVATE_H */
