/*-------------------------------------------------------------------------
 *
 * tally_read.c
 *		Entries of a tally: what they hold, read; and their keys compared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datum.h"

#include "tally_private.h"

/* Read one key, and return where the next one is. */
const char *
sc_tally_key_read(const ScKeyPlanned *planned, const char *at, ScKeyRead *read)
{
	const TypeCacheEntry *type = planned->key.type;
	uint8		first = (uint8) *at++;
	uint32		length;

	read->isnull = (first == 0);
	if (read->isnull)
		return at;
	switch (planned->key.kind)
	{
		case SC_TALLY_BYTES:
			read->len = first - 1;
			if (first == SC_TALLY_LONG)
			{
				memcpy(&length, at, sizeof(length));
				at += sizeof(length);
				read->len = length;
			}
			read->bytes = at;
			return at + read->len;
		case SC_TALLY_WORD:
			memcpy(&read->word, at, sizeof(read->word));
			return at + sizeof(read->word);
		default:
			if (type->typbyval)
			{
				memcpy(&read->datum, at, sizeof(Datum));
				return at + sizeof(Datum);
			}
			at = (const char *) MAXALIGN(at);
			read->datum = PointerGetDatum(at);
			return at + datumGetSize(read->datum, false, type->typlen);
	}
}

/* Are these keys, which may be of different bytes, equal nevertheless? */
bool
sc_tally_key_equal(const ScTally *tally, const char *a, const char *b)
{
	MemoryContext caller = MemoryContextSwitchTo(tally->scratch);
	bool		equal = true;

	for (int i = 0; equal && i < tally->nkeys; i++)
	{
		const ScKeyPlanned *planned = &tally->keys[i];
		ScKeyRead	x;
		ScKeyRead	y;

		a = sc_tally_key_read(planned, a, &x);
		b = sc_tally_key_read(planned, b, &y);
		if (x.isnull || y.isnull)
			equal = x.isnull && y.isnull;
		else if (planned->key.kind == SC_TALLY_BYTES)
			equal = x.len == y.len && memcmp(x.bytes, y.bytes, x.len) == 0;
		else if (planned->key.kind == SC_TALLY_WORD)
			equal = x.word == y.word;
		else
			equal = DatumGetBool(FunctionCall2Coll(&planned->key.type->eq_opr_finfo,
												   planned->key.collation,
												   x.datum, y.datum));
	}
	MemoryContextSwitchTo(caller);
	sc_tally_clean(tally);
	return equal;
}

/* Write a text Datum, and return where there is room for the next. */
static char *
give_text(char *at, const ScKeyRead *read, Datum *value)
{
	SET_VARSIZE(at, VARHDRSZ + read->len);
	memcpy(VARDATA(at), read->bytes, read->len);
	*value = PointerGetDatum(at);
	return (char *) MAXALIGN(at + VARHDRSZ + read->len);
}

void
sc_tally_keys(ScTally *tally, const ScTallyEntry *entry, Datum *values, bool *isnull)
{
	const char *at = sc_tally_keys_of(tally, entry);
	Size		size = entry->size + (VARHDRSZ + MAXIMUM_ALIGNOF) * (Size) tally->nkeys;
	char	   *give;

	if (size > tally->given_size)
	{
		tally->given = tally->given == NULL ?
			MemoryContextAlloc(tally->cx, size * 2) : repalloc(tally->given, size * 2);
		tally->given_size = size * 2;
	}
	give = tally->given;
	for (int i = 0; i < tally->nkeys; i++)
	{
		const ScKeyPlanned *planned = &tally->keys[i];
		ScKeyRead	read;

		at = sc_tally_key_read(planned, at, &read);
		isnull[i] = read.isnull;
		values[i] = (Datum) 0;
		if (read.isnull)
			continue;
		if (planned->key.kind == SC_TALLY_BYTES)
			give = give_text(give, &read, &values[i]);
		else if (planned->key.kind == SC_TALLY_WORD)
			values[i] = sc_tally_unword(read.word, planned->key.type->typlen, planned->is_signed);
		else
			values[i] = read.datum;
	}
}

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

void
sc_tally_states(const ScTally *tally, const ScTallyEntry *entry, Datum *values, bool *isnull)
{
	sc_tally_state_results(&tally->states, sc_tally_words_of(tally, entry),
						   entry->marks, values, isnull);
}
