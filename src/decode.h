/*-------------------------------------------------------------------------
 *
 * decode.h
 *		Payload bytes to the columns that the rollups need.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_DECODE_H
#define SC_DECODE_H

#include "streamcount.h"

typedef struct ScDecoder ScDecoder;

/* Ready to decode the given columns (attnums); lives in cx. */
extern ScDecoder *sc_decode_create(const ScStream *stream,
								   const Bitmapset *attnums, MemoryContext cx);

/*
 * Judge the payload as a whole, and keep what the columns need.  An ERROR of
 * class 22 or 54 is the message's fault; the caller guards.
 */
extern void sc_decode_payload(ScDecoder *decoder, const ScMessage *message);

/* Free what the last message took, which may be much. */
extern void sc_decode_forget(ScDecoder *decoder);

/*
 * Column i of the decoder's (0 … sc_decode_ncolumns() - 1), allocated in the
 * current memory context.  An ERROR of class 22, 23 or 54 is the column's.
 */
extern int	sc_decode_ncolumns(const ScDecoder *decoder);
extern const ScColumn *sc_decode_column_of(const ScDecoder *decoder, int i);
extern Datum sc_decode_column(ScDecoder *decoder, int i, bool *isnull);

/* What Kafka says of a message: a metadata column, and headers as jsonb. */
extern Datum sc_decode_metadata(const ScStream *stream, const ScColumn *column,
								const ScMessage *message, bool *isnull);
extern Datum sc_decode_headers(const ScMessage *message);

#endif							/* SC_DECODE_H */
