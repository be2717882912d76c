/*-------------------------------------------------------------------------
 *
 * tally_key.c
 *		Keys of a tally: put together and hashed.
 *
 * Keys come from anybody who may write to the topic, so the hash must not
 * let them choose which ones collide: it is SipHash-1-3 (Aumasson and
 * Bernstein, "SipHash: a fast short-input PRF") with a key that each process
 * draws for itself.  It goes on from key to key, and then over chain and
 * window: keys that stay are not hashed again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datum.h"

#include "tally_private.h"

/* At most: first byte, length, alignment */
#define KEY_HEAD (1 + sizeof(uint32) + MAXIMUM_ALIGNOF)

/* ----------------------------------------------------------------
 * The hash
 * ----------------------------------------------------------------
 */

static inline uint64
rotate_left(uint64 word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static inline void
sip_round(ScSip *sip)
{
	sip->v0 += sip->v1;
	sip->v2 += sip->v3;
	sip->v1 = rotate_left(sip->v1, 13) ^ sip->v0;
	sip->v3 = rotate_left(sip->v3, 16) ^ sip->v2;
	sip->v0 = rotate_left(sip->v0, 32);
	sip->v2 += sip->v1;
	sip->v0 += sip->v3;
	sip->v1 = rotate_left(sip->v1, 17) ^ sip->v2;
	sip->v3 = rotate_left(sip->v3, 21) ^ sip->v0;
	sip->v2 = rotate_left(sip->v2, 32);
}

static inline void
sip_word(ScSip *sip, uint64 word)
{
	sip->v3 ^= word;
	sip_round(sip);
	sip->v0 ^= word;
}

static ScSip
sip_begin(void)
{
	static uint64 secret[2];
	static bool drawn = false;

	if (!drawn && !pg_strong_random(secret, sizeof(secret)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	drawn = true;
	/* "somepseudorandomlygeneratedbytes", as the paper has it */
	return (ScSip)
	{
		secret[0] ^ UINT64CONST(0x736f6d6570736575),
			secret[1] ^ UINT64CONST(0x646f72616e646f6d),
			secret[0] ^ UINT64CONST(0x6c7967656e657261),
			secret[1] ^ UINT64CONST(0x7465646279746573)
	};
}

/*
 * Of all keys, chain and window.  Each key tells where it ends, so the paper's
 * word with the length is not needed.
 */
uint32
sc_tally_key_hash(const ScTally *tally, int chain, TimestampTz window)
{
	ScSip		sip = tally->draft_marks[tally->nkeys].sip;

	/* Chains are few, and the first bits of a window's time are all the same. */
	sip_word(&sip, (uint64) window ^ (uint64) chain << 52);
	sip.v2 ^= 0xff;
	sip_round(&sip);
	sip_round(&sip);
	sip_round(&sip);
	return (uint32) ((sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3) >> 32);
}

/* ----------------------------------------------------------------
 * The draft
 * ----------------------------------------------------------------
 */

void
sc_tally_key_prepare(ScTally *tally, int nkeys, const ScTallyKey *keys)
{
	tally->nkeys = nkeys;
	tally->keys = MemoryContextAllocZero(tally->cx, sizeof(ScKeyPlanned) * Max(nkeys, 1));
	for (int i = 0; i < nkeys; i++)
	{
		tally->keys[i].key = keys[i];
		if (keys[i].kind == SC_TALLY_WORD)
			(void) sc_tally_is_word(keys[i].type, &tally->keys[i].is_signed);
		else if (keys[i].kind == SC_TALLY_DATUM)
			tally->datums = true;
	}
	tally->draft_size = 256;
	tally->draft = MemoryContextAllocZero(tally->cx, tally->draft_size);
	tally->draft_marks = MemoryContextAllocZero(tally->cx, sizeof(ScDraftMark) * (nkeys + 1));
	tally->draft_marks[0].offset = sc_tally_keys_of(tally, tally->draft) - (char *) tally->draft;
	tally->draft_marks[0].sip = sip_begin();
}

void
sc_tally_key_begin(ScTally *tally)
{
	tally->drafted = 0;
}

void
sc_tally_key_rewind(ScTally *tally, int n)
{
	Assert(n <= tally->drafted);
	tally->drafted = n;
}

size_t
sc_tally_key_size(const ScTally *tally)
{
	return tally->draft_marks[tally->drafted].counted;
}

static pg_noinline void
widen_draft(ScTally *tally, Size size)
{
	tally->draft_size = Max(size, tally->draft_size * 2);
	tally->draft = repalloc_huge(tally->draft, tally->draft_size);
}

/* Where the next key is put; there is room for a word after it. */
static inline char *
begin_key(ScTally *tally, Size size)
{
	Size		offset = tally->draft_marks[tally->drafted].offset;

	Assert(tally->drafted < tally->nkeys);
	size += offset + KEY_HEAD + sizeof(uint64);
	if (unlikely(size > tally->draft_size))
		widen_draft(tally, size);
	return (char *) tally->draft + offset;
}

static inline ScDraftMark *
end_key(ScTally *tally, const char *end, Size counted)
{
	ScDraftMark *mark = &tally->draft_marks[tally->drafted++];

	mark[1].offset = end - (char *) tally->draft;
	mark[1].counted = mark->counted + counted;
	mark[1].sip = mark->sip;
	return &mark[1];
}

/* The same, and hash what was put there. */
static inline void
end_bytes(ScTally *tally, const char *begin, char *end, Size counted)
{
	ScSip	   *sip = &end_key(tally, end, counted)->sip;
	uint64		word = 0;

	memcpy(end, &word, sizeof(word));
	for (; begin < end; begin += sizeof(word))
	{
		memcpy(&word, begin, sizeof(word));
		sip_word(sip, word);
	}
}

/* Nobody will add it: tell its length, and spend no memory on it. */
static void
skip_key(ScTally *tally, Size counted)
{
	(void) end_key(tally, begin_key(tally, 0), counted);
}

void
sc_tally_key_null(ScTally *tally)
{
	char	   *at = begin_key(tally, 0);

	*at = 0;
	end_bytes(tally, at, at + 1, 0);
}

void
sc_tally_key_bytes(ScTally *tally, const char *bytes, size_t len)
{
	char	   *begin;
	char	   *at;

	if (unlikely(len > SC_MAX_KEY_BYTES))
	{
		skip_key(tally, len);
		return;
	}
	begin = at = begin_key(tally, len);
	if (likely(len < SC_TALLY_LONG - 1))
		*at++ = (char) (len + 1);
	else
	{
		uint32		length = (uint32) len;

		*at++ = (char) SC_TALLY_LONG;
		memcpy(at, &length, sizeof(length));
		at += sizeof(length);
	}
	memcpy(at, bytes, len);
	end_bytes(tally, begin, at + len, len);
}

static void
put_word(ScTally *tally, uint64 word)
{
	char	   *begin = begin_key(tally, sizeof(word));

	*begin = SC_TALLY_PRESENT;
	memcpy(begin + 1, &word, sizeof(word));
	end_bytes(tally, begin, begin + 1 + sizeof(word), 0);
}

/* The bytes of a Datum, without what it points to being toasted. */
static char *
put_reference(ScTally *tally, const TypeCacheEntry *type, Datum value)
{
	Size		size = datumGetSize(value, false, type->typlen);
	char	   *begin = begin_key(tally, size);
	char	   *at = (char *) MAXALIGN(begin + 1);

	memset(begin, 0, at - begin);
	*begin = SC_TALLY_PRESENT;
	memcpy(at, DatumGetPointer(value), size);
	return at + size;
}

static void
put_datum(ScTally *tally, const ScTallyKey *key, Datum value)
{
	const TypeCacheEntry *type = key->type;
	MemoryContext caller = MemoryContextSwitchTo(tally->scratch);
	uint64		hash;
	Size		counted = 0;
	char	   *end;

	if (type->typlen == -1)
	{
		value = PointerGetDatum(PG_DETOAST_DATUM(value));
		counted = VARSIZE(DatumGetPointer(value)) - VARHDRSZ;
		if (counted > SC_MAX_KEY_BYTES)
		{
			skip_key(tally, counted);
			MemoryContextSwitchTo(caller);
			sc_tally_clean(tally);
			return;
		}
	}
	/* The hash of hashes keeps their collisions, so it has a secret, too. */
	hash = DatumGetUInt64(FunctionCall2Coll(&key->type->hash_extended_proc_finfo,
											key->collation, value,
											UInt64GetDatum(tally->draft_marks[0].sip.v0)));
	if (type->typbyval)
	{
		end = begin_key(tally, sizeof(value));
		*end++ = SC_TALLY_PRESENT;
		memcpy(end, &value, sizeof(value));
		end += sizeof(value);
	}
	else
		end = put_reference(tally, type, value);
	sip_word(&end_key(tally, end, counted)->sip, hash);
	MemoryContextSwitchTo(caller);
	sc_tally_clean(tally);
}

void
sc_tally_key_datum(ScTally *tally, Datum value)
{
	const ScKeyPlanned *planned = &tally->keys[tally->drafted];

	if (planned->key.kind == SC_TALLY_WORD)
		put_word(tally, sc_tally_word(value, planned->key.type->typlen, planned->is_signed));
	else if (planned->key.kind == SC_TALLY_DATUM)
		put_datum(tally, &planned->key, value);
	else
	{
		struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

		sc_tally_key_bytes(tally, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
		if ((Pointer) text != DatumGetPointer(value))
			pfree(text);
	}
}
