/*-------------------------------------------------------------------------
 *
 * batch.c
 *		The batch in hand: messages as rows of their stream.
 *
 * Decoding throws, as PostgreSQL's input functions do, so it runs in a
 * subtransaction: one for as many messages as are good, and one more for
 * each bad payload or column.  They write nothing, so they take no xid.
 *
 * Owns: a copy of each message and its values, until it is forgotten.  None
 * of it belongs to a transaction: rows outlive an abort.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "batch.h"
#include "decode.h"
#include "guard.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* A reason may quote the message; so much of one is kept, in bytes. */
#define MAX_REASON		2000

/* What the decoder does next within a row */
#define NEXT_PAYLOAD	(-1)

struct ScBatch
{
	const ScStream *stream;
	MemoryContext home;			/* the batch itself and its decoder */
	MemoryContext rows_cx;		/* all that sc_batch_forget() forgets */
	ScDecoder  *decoder;
	ScRow	   *rows;			/* in home: their memory is used again */
	int			nrows;
	int			max_rows;
	int			next_row;		/* to decode */
	int			next_column;	/* of that row, or NEXT_PAYLOAD */
};

/* The one that scans of this process return, if any */
static struct
{
	ScBatch    *batch;
	int			first;
	int			end;
	const bool *shown;
	bool	   *marked;
}			hand;

ScBatch *
sc_batch_create(const ScStream *stream, const Bitmapset *attnums, MemoryContext parent)
{
	MemoryContext home = AllocSetContextCreate(parent, "streamcount batch",
											   ALLOCSET_DEFAULT_SIZES);
	ScBatch    *batch = MemoryContextAllocZero(home, sizeof(ScBatch));

	batch->stream = stream;
	batch->home = home;

	/* rows are only ever freed all at once */
	batch->rows_cx = GenerationContextCreate(home, "streamcount rows",
											 ALLOCSET_DEFAULT_SIZES);
	batch->decoder = sc_decode_create(stream, attnums, home);
	batch->next_column = NEXT_PAYLOAD;
	return batch;
}

static char *
copy_bytes(MemoryContext cx, const char *bytes, size_t len)
{
	char	   *copy;

	if (bytes == NULL)
		return NULL;
	copy = MemoryContextAllocHuge(cx, Max(len, 1));
	memcpy(copy, bytes, len);
	return copy;
}

static void
copy_message(MemoryContext cx, ScMessage *copy, const ScMessage *message)
{
	ScHeader   *headers = NULL;

	*copy = *message;
	copy->payload = copy_bytes(cx, message->payload, message->payload_len);
	copy->key = copy_bytes(cx, message->key, message->key_len);

	if (message->nheaders > 0)
		headers = MemoryContextAlloc(cx, sizeof(ScHeader) * message->nheaders);
	for (int i = 0; i < message->nheaders; i++)
	{
		const ScHeader *from = &message->headers[i];

		headers[i].name = MemoryContextStrdup(cx, from->name);
		headers[i].value = copy_bytes(cx, from->value, from->value_len);
		headers[i].value_len = from->value_len;
	}
	copy->headers = headers;
}

void
sc_batch_add(ScBatch *batch, const ScMessage *message)
{
	ScRow	   *row;
	int			natts = batch->stream->natts;

	if (batch->nrows == batch->max_rows)
	{
		int			max_rows = Max(batch->max_rows * 2, 256);
		Size		size = sizeof(ScRow) * (Size) max_rows;

		batch->rows = batch->rows == NULL ?
			MemoryContextAllocHuge(batch->home, size) :
			repalloc_huge(batch->rows, size);
		batch->max_rows = max_rows;
	}

	row = &batch->rows[batch->nrows];
	memset(row, 0, sizeof(ScRow));
	copy_message(batch->rows_cx, &row->message, message);
	row->values = MemoryContextAllocZero(batch->rows_cx, sizeof(Datum) * Max(natts, 1));
	row->isnull = MemoryContextAlloc(batch->rows_cx, Max(natts, 1));
	memset(row->isnull, true, Max(natts, 1));
	batch->nrows++;
}

/* Go on where next_row and next_column are; they stay there on an ERROR. */
static void
decode_rows(void *arg)
{
	ScBatch    *batch = arg;
	int			ncolumns = sc_decode_ncolumns(batch->decoder);

	MemoryContextSwitchTo(batch->rows_cx);
	while (batch->next_row < batch->nrows)
	{
		ScRow	   *row = &batch->rows[batch->next_row];

		CHECK_FOR_INTERRUPTS();
		if (batch->next_column == NEXT_PAYLOAD)
		{
			sc_decode_payload(batch->decoder, &row->message);
			batch->next_column = 0;
		}
		while (batch->next_column < ncolumns)
		{
			AttrNumber	attnum = sc_decode_column_of(batch->decoder, batch->next_column)->attnum;
			bool		isnull;

			row->values[attnum - 1] = sc_decode_column(batch->decoder, batch->next_column,
													   &isnull);
			row->isnull[attnum - 1] = isnull;
			batch->next_column++;
		}
		row->decoded = true;
		batch->next_row++;
		batch->next_column = NEXT_PAYLOAD;
	}
}

bool
sc_batch_is_messages_fault(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return true;
		default:
			return sqlerrcode == ERRCODE_RAISE_EXCEPTION;
	}
}

static char *
copy_text(MemoryContext cx, const char *text)
{
	int			len = strlen(text);

	if (len <= MAX_REASON)
		return MemoryContextStrdup(cx, text);
	len = pg_mbcliplen(text, len, MAX_REASON);
	return MemoryContextStrdup(cx, psprintf("%.*s...", len, text));
}

ScReject *
sc_batch_reject(const ErrorData *edata, MemoryContext cx)
{
	ScReject   *reject = MemoryContextAllocZero(cx, sizeof(ScReject));

	reject->sqlerrcode = edata->sqlerrcode;
	reject->reason = copy_text(cx, edata->message ? edata->message : "");
	reject->detail = edata->detail ? copy_text(cx, edata->detail) : NULL;
	return reject;
}

/* Note what is wrong, in the batch's memory, and step past it. */
static void
note_fault(ScBatch *batch, const ErrorData *edata)
{
	ScRow	   *row = &batch->rows[batch->next_row];
	const ScColumn *column = NULL;
	ScReject   *reject;

	if (batch->next_column != NEXT_PAYLOAD)
		column = sc_decode_column_of(batch->decoder, batch->next_column++);
	if (column != NULL && column->null_on_error)
		return;

	reject = sc_batch_reject(edata, batch->rows_cx);
	if (column != NULL)
	{
		reject->attnum = column->attnum;
		reject->next = row->column_errors;
		row->column_errors = reject;
	}
	else
	{
		row->payload_error = reject;
		row->decoded = true;
		batch->next_row++;
	}
}

void
sc_batch_decode(ScBatch *batch)
{
	while (batch->next_row < batch->nrows)
	{
		ErrorData  *edata = sc_guard_run(decode_rows, batch, sc_batch_is_messages_fault);

		if (edata == NULL)
			continue;
		note_fault(batch, edata);
		FreeErrorData(edata);
	}
	sc_decode_forget(batch->decoder);
}

void
sc_batch_forget(ScBatch *batch)
{
	MemoryContextReset(batch->rows_cx);
	sc_decode_forget(batch->decoder);
	batch->nrows = 0;
	batch->next_row = 0;
	batch->next_column = NEXT_PAYLOAD;
}

int
sc_batch_nrows(const ScBatch *batch)
{
	return batch->nrows;
}

ScRow *
sc_batch_row(const ScBatch *batch, int i)
{
	return &batch->rows[i];
}

Size
sc_batch_memory(const ScBatch *batch)
{
	return MemoryContextMemAllocated(batch->rows_cx, true) +
		sizeof(ScRow) * (Size) batch->nrows;
}

void
sc_batch_take(ScBatch *batch, int first, int end, const bool *shown, bool *marked)
{
	hand.batch = batch;
	hand.first = first;
	hand.end = end;
	hand.shown = shown;
	hand.marked = marked;
}

void
sc_batch_put_down(void)
{
	memset(&hand, 0, sizeof(hand));
}

bool
sc_batch_is_taken(void)
{
	return hand.batch != NULL;
}

ScBatch *
sc_batch_in_hand(Oid relid)
{
	return (hand.batch != NULL && hand.batch->stream->relid == relid) ? hand.batch : NULL;
}

/*
 * The stream's definition was read before this query locked the table, and
 * a value of another type than the executor takes it for is a crash.
 */
void
sc_batch_check(const ScBatch *batch, TupleDesc desc)
{
	const ScStream *stream = batch->stream;
	bool		same = (stream->natts == desc->natts);

	for (int i = 0; same && i < stream->ncolumns; i++)
	{
		const ScColumn *column = &stream->columns[i];
		Form_pg_attribute att = TupleDescAttr(desc, column->attnum - 1);

		same = !att->attisdropped && att->atttypid == column->type;
	}
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream %s has changed while its messages were read",
						stream->name)));
}

ScRow *
sc_batch_next(ScBatch *batch, int *cursor, ItemPointer tid)
{
	Assert(batch == hand.batch);

	for (int i = Max(*cursor, hand.first); i < hand.end; i++)
	{
		if (!hand.shown[i])
			continue;
		*cursor = i + 1;
		ItemPointerSet(tid, (BlockNumber) i, FirstOffsetNumber);
		return &batch->rows[i];
	}
	*cursor = hand.end;
	return NULL;
}

void
sc_batch_mark(ItemPointer tid)
{
	BlockNumber i = ItemPointerGetBlockNumber(tid);

	if (hand.batch != NULL && i < (BlockNumber) hand.end)
		hand.marked[i] = true;
}
