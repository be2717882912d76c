/*-------------------------------------------------------------------------
 *
 * decode_quick.h
 *		The columns of a message, as far as they are sure.
 *
 * What this says of a message is what decode.h would say of it, found
 * without PostgreSQL's parser and input functions.  Where it is not sure,
 * it has a doubt, and the message is left to them: it never rejects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_DECODE_QUICK_H
#define SC_DECODE_QUICK_H

#include "streamcount.h"

typedef struct ScQuick ScQuick;

typedef struct ScQuickValue
{
	bool		doubt;			/* all else means nothing then */
	bool		isnull;
	Datum		value;			/* text types: only where it was asked for */
	const char *text;			/* text types: the bytes, not terminated */
	size_t		len;
} ScQuickValue;

/* Is there a quick way for columns of this kind and type? */
extern bool sc_decode_quick_can(const ScColumn *column);

/*
 * Ready to read the given columns, all of which sc_decode_quick_can(); those
 * in datums are wanted as Datums even where they are of a text type.
 */
extern ScQuick *sc_decode_quick_create(const ScStream *stream, const Bitmapset *attnums,
									   const Bitmapset *datums, MemoryContext cx);

/*
 * May sc_decode_quick() raise an ERROR?  Then it needs a transaction, and a
 * guard: the ERROR is one more doubt.
 */
extern bool sc_decode_quick_throws(const ScQuick *quick);

/*
 * Read a message into values[attnum - 1]; false: the payload as a whole is
 * in doubt.  What values point to lives until the next call, or the end of
 * the message's own memory.
 */
extern bool sc_decode_quick(ScQuick *quick, const ScMessage *message, ScQuickValue *values);

#endif							/* SC_DECODE_QUICK_H */
