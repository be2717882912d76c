/*-------------------------------------------------------------------------
 *
 * tally_sort.c
 *		The entries of a tally in the order of their keys.
 *
 * Entries are sorted by one word of one key at a time, which is kept beside
 * the reference: so no entry is looked at while words are compared.  Those
 * whose word is the same are then sorted by the next word, and where a key
 * ends by the next key, then by chain and window.  What an entry begins with,
 * many keys may have in common ("#" and "http://" are not rare): every
 * byte of it is read once for each entry, and not once for each comparison.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bswap.h"

#include "tally_private.h"

/* What entries are sorted by: a word of a key, chain or window. */
typedef struct ScTallyLevel
{
	const ScTally *tally;
	int			key;			/* nkeys: chain; after that: window */
	Size		depth;			/* SC_TALLY_BYTES: bytes before the word */
} ScTallyLevel;

static int	compare_datums(const ScTallySorted *a, const ScTallySorted *b,
						   const ScTallyLevel *level);

#define ST_SORT sort_words
#define ST_ELEMENT_TYPE ScTallySorted
#define ST_COMPARE(a, b) ((a)->word < (b)->word ? -1 : (a)->word > (b)->word)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_datums
#define ST_ELEMENT_TYPE ScTallySorted
#define ST_COMPARE_ARG_TYPE const ScTallyLevel
#define ST_COMPARE(a, b, level) compare_datums(a, b, level)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static inline ScTallyKeyKind
kind_of(const ScTallyLevel *level)
{
	if (level->key >= level->tally->nkeys)
		return SC_TALLY_WORD;
	return level->tally->keys[level->key].key.kind;
}

static void
read_key(const ScTallyLevel *level, const ScTallyEntry *entry, ScKeyRead *read)
{
	const char *at = sc_tally_keys_of(level->tally, entry);

	for (int i = 0; i <= level->key; i++)
		at = sc_tally_key_read(&level->tally->keys[i], at, read);
}

static int
compare_datums(const ScTallySorted *a, const ScTallySorted *b, const ScTallyLevel *level)
{
	const ScTallyKey *key = &level->tally->keys[level->key].key;
	ScKeyRead	x;
	ScKeyRead	y;
	int			order;

	read_key(level, a->entry, &x);
	read_key(level, b->entry, &y);
	order = DatumGetInt32(FunctionCall2Coll(&key->type->cmp_proc_finfo, key->collation,
											x.datum, y.datum));
	sc_tally_clean(level->tally);
	return order;
}

/* The next bytes as a number; what lacks of a word is 0, which no text has. */
static inline uint64
word_of_bytes(const ScKeyRead *read, Size depth)
{
	uint64		word = 0;

	memcpy(&word, read->bytes + depth, Min(sizeof(word), read->len - depth));
	return pg_ntoh64(word);
}

/* The word to sort an entry by; false: the key is NULL. */
static bool
load_word(const ScTallyLevel *level, ScTallySorted *item)
{
	const ScTally *tally = level->tally;
	ScKeyRead	read;

	if (level->key == tally->nkeys)
		item->word = item->entry->chain;
	else if (level->key > tally->nkeys)
		item->word = (uint64) item->entry->window ^ SC_TALLY_SIGN_BIT;
	else
	{
		read_key(level, item->entry, &read);
		if (read.isnull)
			return false;
		if (kind_of(level) == SC_TALLY_BYTES)
			item->word = word_of_bytes(&read, level->depth);
		else if (kind_of(level) == SC_TALLY_WORD)
			item->word = read.word;
	}
	return true;
}

/* Load the words; what is NULL goes to the end.  Returns how many are not. */
static Size
load_words(const ScTallyLevel *level, ScTallySorted *items, Size n)
{
	for (Size i = 0; i < n;)
	{
		ScTallySorted last = items[n - 1];

		if (load_word(level, &items[i]))
			i++;
		else
		{
			items[--n] = items[i];
			items[i] = last;
		}
	}
	return n;
}

static inline bool
same_word(const ScTallyLevel *level, const ScTallySorted *a, const ScTallySorted *b)
{
	if (kind_of(level) == SC_TALLY_DATUM)
		return compare_datums(a, b, level) == 0;
	return a->word == b->word;
}

static void
sort_level(const ScTallyLevel *level, ScTallySorted *items, Size n)
{
	ScTallyLevel next_key = {level->tally, level->key + 1, 0};
	ScTallyLevel next_word = {level->tally, level->key, level->depth + sizeof(uint64)};
	Size		some;
	Size		end;

	if (n < 2 || level->key > level->tally->nkeys + 1)
		return;
	some = load_words(level, items, n);
	if (kind_of(level) == SC_TALLY_DATUM)
		sort_datums(items, some, level);
	else
		sort_words(items, some);

	for (Size begin = 0; begin < some; begin = end)
	{
		/* A word whose last byte is none of the key's is its last. */
		bool		goes_on = kind_of(level) == SC_TALLY_BYTES && (items[begin].word & 0xff) != 0;

		for (end = begin + 1; end < some; end++)
			if (!same_word(level, &items[begin], &items[end]))
				break;
		sort_level(goes_on ? &next_word : &next_key, items + begin, end - begin);
	}
	sort_level(&next_key, items + some, n - some);
}

/* All entries, in the order in which they lie in the chunks. */
static void
list_entries(ScTally *tally)
{
	Size		words = sizeof(uint64) * tally->states.nwords;
	int64		n = 0;

	for (int i = 0; i <= tally->chunk; i++)
	{
		Size		at = SC_TALLY_CHUNK_BEGIN;
		const ScTallyChunk *chunk = &tally->chunks[i];

		while (at < chunk->end)
		{
			ScTallyEntry *entry = (ScTallyEntry *) (chunk->bytes + at + words);

			tally->sorted[n++].entry = entry;
			at = MAXALIGN(sc_tally_keys_of(tally, entry) + entry->size - chunk->bytes);
		}
	}
	Assert(n == tally->count);
}

void
sc_tally_sort(ScTally *tally)
{
	ScTallyLevel first = {tally, 0, 0};
	int64		count = sc_tally_count(tally);
	MemoryContext caller;

	if (tally->sorted != NULL)
		return;
	tally->sorted = MemoryContextAllocHuge(tally->cx, sizeof(ScTallySorted) * Max(count, 1));
	list_entries(tally);
	caller = MemoryContextSwitchTo(tally->scratch);
	sort_level(&first, tally->sorted, count);
	MemoryContextSwitchTo(caller);
}

ScTallyEntry *
sc_tally_entry(const ScTally *tally, int64 i)
{
	Assert(tally->sorted != NULL && i >= 0 && i < tally->count);
	return tally->sorted[i].entry;
}
