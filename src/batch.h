/*-------------------------------------------------------------------------
 *
 * batch.h
 *		The batch in hand: messages as rows of their stream.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_BATCH_H
#define SC_BATCH_H

#include "streamcount.h"
#include "access/tupdesc.h"
#include "storage/itemptr.h"

/* One message.  Everything in it lives until sc_batch_forget(). */
typedef struct ScRow
{
	ScMessage	message;		/* the batch's own copy */
	bool		decoded;
	ScReject   *payload_error;	/* the payload itself is bad; NULL: it is not */
	ScReject   *column_errors;	/* each column that did not convert */
	Datum	   *values;			/* [attnum - 1]; only of the columns asked for */
	bool	   *isnull;
} ScRow;

typedef struct ScBatch ScBatch;

/* Rows will have the columns of attnums; all others are NULL. */
extern ScBatch *sc_batch_create(const ScStream *stream, const Bitmapset *attnums,
								MemoryContext parent);
extern void sc_batch_add(ScBatch *batch, const ScMessage *message);

/*
 * Decode what is not decoded yet.  Needs a transaction, which it does not
 * write in: bad messages are caught in subtransactions that take no xid.
 */
extern void sc_batch_decode(ScBatch *batch);
extern void sc_batch_forget(ScBatch *batch);

/* Does an ERROR of this code blame the message, and not the world? */
extern bool sc_batch_is_messages_fault(int sqlerrcode);

/* What such an ERROR says; long texts are cut. */
extern ScReject *sc_batch_reject(const ErrorData *edata, MemoryContext cx);

extern int	sc_batch_nrows(const ScBatch *batch);
extern ScRow *sc_batch_row(const ScBatch *batch, int i);

/* What sc_batch_forget() would free. */
extern Size sc_batch_memory(const ScBatch *batch);

/*
 * While a batch is in hand, a scan of its stream gives its rows from first
 * to before end, less those that are not shown.  The row's ctid carries its
 * number, and sc_batch_mark() notes that a row has reached the grouping.
 * shown[] and marked[] have one entry a row and belong to the caller.
 */
extern void sc_batch_take(ScBatch *batch, int first, int end,
						  const bool *shown, bool *marked);
extern void sc_batch_put_down(void);
extern bool sc_batch_is_taken(void);
extern ScBatch *sc_batch_in_hand(Oid relid);

/* For the scan: ERROR where the batch's rows are no longer the table's. */
extern void sc_batch_check(const ScBatch *batch, TupleDesc desc);

/* For the scan: the next row at or after *cursor, or NULL. */
extern ScRow *sc_batch_next(ScBatch *batch, int *cursor, ItemPointer tid);
extern void sc_batch_mark(ItemPointer tid);

#endif							/* SC_BATCH_H */
