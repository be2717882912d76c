/*-------------------------------------------------------------------------
 *
 * tally.h
 *		Keys and windows to the states of aggregates.
 *
 *	sc_tally_key_begin(tally);
 *	sc_tally_key_bytes(tally, "#tag", 4);		one call for each key, in order
 *	sc_tally_add(tally, chain, window, args);
 *	...
 *	sc_tally_sort(tally);
 *	for (i = 0; i < sc_tally_count(tally); i++)
 *		entry = sc_tally_entry(tally, i);
 *
 * A tally belongs to no transaction, and is only ever emptied as a whole.
 * Nothing but a lack of memory, or of numbers for entries, raises an ERROR
 * while messages are added, whose keys must not be longer than
 * SC_MAX_KEY_BYTES.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TALLY_H
#define SC_TALLY_H

#include "streamcount.h"

#include "datatype/timestamp.h"
#include "utils/typcache.h"

typedef enum ScTallyKeyKind
{
	SC_TALLY_BYTES,				/* text that is equal when its bytes are */
	SC_TALLY_WORD,				/* by value, and equal when the Datums are */
	SC_TALLY_DATUM				/* by the type's own hash and equality */
} ScTallyKeyKind;

typedef struct ScTallyKey
{
	ScTallyKeyKind kind;
	Oid			collation;
	TypeCacheEntry *type;		/* with hash, equality and comparison */
} ScTallyKey;

typedef enum ScTallyStateKind
{
	SC_TALLY_COUNT,				/* of all rows, or of arguments that are not NULL */
	SC_TALLY_SUM,				/* of int2, int4, int8, float4, float8, numeric */
	SC_TALLY_MIN,
	SC_TALLY_MAX
} ScTallyStateKind;

typedef struct ScTallyState
{
	ScTallyStateKind kind;
	Oid			collation;		/* of MIN and MAX */
	TypeCacheEntry *type;		/* of the argument; NULL: count(*) */
	Oid			result;			/* type of the state; sum(int8) is numeric */
} ScTallyState;

typedef struct ScTally ScTally;
typedef struct ScTallyEntry ScTallyEntry;

/*
 * False where a tally cannot have such a key, or such a state: *why is a
 * phrase for "... needs the executor: <why>".  collation is the one that
 * equality (of keys) or order (of MIN and MAX) goes by.
 */
extern bool sc_tally_describe_key(ScTallyKey *key, Oid type, Oid collation, const char **why);
extern bool sc_tally_describe_state(ScTallyState *state, ScTallyStateKind kind, Oid argtype,
									Oid collation, const char **why);

/* Keys and states are copied; all of the tally's memory is below parent. */
extern ScTally *sc_tally_create(int nkeys, const ScTallyKey *keys,
								int nstates, const ScTallyState *states,
								MemoryContext parent);

/* The keys of what is added next, in their order; they stay until begun anew. */
extern void sc_tally_key_begin(ScTally *tally);
extern void sc_tally_key_null(ScTally *tally);
extern void sc_tally_key_bytes(ScTally *tally, const char *bytes, size_t len);	/* SC_TALLY_BYTES */
extern void sc_tally_key_datum(ScTally *tally, Datum value);	/* the other two, and text, too */

/* Keep the first n keys, and go on after them: for keys that differ at the end. */
extern void sc_tally_key_rewind(ScTally *tally, int n);

/*
 * Bytes of all keys of variable length that are not NULL, as SC_MAX_KEY_BYTES
 * counts them.  A key that is too long by itself is not kept.
 */
extern size_t sc_tally_key_size(const ScTally *tally);

/*
 * One occurrence: args has one entry for each state.  Chain and window
 * are numbers to the tally: they are part of the key, and sorted by.
 */
extern void sc_tally_add(ScTally *tally, int chain, TimestampTz window, const NullableDatum *args);

extern int64 sc_tally_count(ScTally *tally);

/* What it takes now, and what it would take if it had to grow once more. */
extern Size sc_tally_memory(const ScTally *tally);
extern Size sc_tally_memory_next(const ScTally *tally);
extern void sc_tally_forget(ScTally *tally);

/* By keys in their order (as the index orders them), then by chain, then by window. */
extern void sc_tally_sort(ScTally *tally);
extern ScTallyEntry *sc_tally_entry(const ScTally *tally, int64 i);

extern int	sc_tally_chain(const ScTallyEntry *entry);
extern TimestampTz sc_tally_window(const ScTallyEntry *entry);
extern bool sc_tally_same_keys(const ScTally *tally, const ScTallyEntry *a, const ScTallyEntry *b);

/* Text is given as Datums, too.  They point into the tally, or at scratch until the next call. */
extern void sc_tally_keys(ScTally *tally, const ScTallyEntry *entry, Datum *values, bool *isnull);

/* States outside of the table: several entries added up. */
typedef struct ScTallySum ScTallySum;

extern ScTallySum *sc_tally_sum_create(ScTally *tally, MemoryContext cx);
extern void sc_tally_sum_clear(ScTallySum *sum);
extern void sc_tally_sum_add(ScTallySum *sum, const ScTallyEntry *entry);

/*
 * The states as Datums of their result types, allocated in the current
 * memory context.  An ERROR of class 22 where a sum is out of range, as the
 * aggregate itself would raise it.
 */
extern void sc_tally_states(const ScTally *tally, const ScTallyEntry *entry, Datum *values, bool *isnull);
extern void sc_tally_sum_states(const ScTallySum *sum, Datum *values, bool *isnull);

#endif							/* SC_TALLY_H */
