/*-------------------------------------------------------------------------
 *
 * refetch.c
 *		Single messages, read from Kafka once more.
 *
 * Offsets that are near each other are read in one go, with what lies
 * between; where a partition has none for a long stretch, that is left out
 * by connecting once more behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "refetch.h"
#include "scan.h"

/* So many messages are sooner read than a connection is made. */
#define NEAR 100000

static ScRefetch *
find(const List *wanted, int32 partition)
{
	ListCell   *lc;

	foreach(lc, wanted)
	{
		ScRefetch  *one = lfirst(lc);

		if (one->partition == partition)
			return one;
	}
	return NULL;
}

List *
sc_refetch_want(List *wanted, int32 partition, int64 offset)
{
	ScRefetch  *one = find(wanted, partition);

	if (one == NULL)
	{
		one = palloc0(sizeof(ScRefetch));
		one->partition = partition;
		one->max_offsets = 256;
		one->offsets = palloc(sizeof(int64) * one->max_offsets);
		wanted = lappend(wanted, one);
	}
	if (one->noffsets == one->max_offsets)
	{
		one->max_offsets *= 2;
		one->offsets = repalloc_huge(one->offsets, sizeof(int64) * one->max_offsets);
	}
	one->offsets[one->noffsets++] = offset;
	return wanted;
}

/* The first one that is not before the offset */
static int64
position_of(const ScRefetch *one, int64 offset)
{
	int64		low = 0,
				high = one->noffsets;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (one->offsets[middle] < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
sc_refetch_wants(const List *wanted, int32 partition, int64 offset)
{
	const ScRefetch *one = find(wanted, partition);
	int64		i = one ? position_of(one, offset) : 0;

	return one != NULL && i < one->noffsets && one->offsets[i] == offset;
}

/* From the offset at which it stands as far as the next ones are near. */
static ScSpan
next_span(const ScRefetch *one, int64 at)
{
	ScSpan		span = {one->partition, one->offsets[at], 0};

	while (at + 1 < one->noffsets && one->offsets[at + 1] - one->offsets[at] <= NEAR)
		at++;
	span.end = one->offsets[at] + 1;
	return span;
}

/* Read one span of each partition that is not finished; false when all are. */
static bool
read_spans(Oid stream, const Bitmapset *attnums, List *wanted, int64 *at)
{
	MemoryContext cx = AllocSetContextCreate(CurrentMemoryContext, "streamcount refetch",
											 ALLOCSET_DEFAULT_SIZES);
	ScSpan	   *spans = palloc(sizeof(ScSpan) * list_length(wanted));
	const ScMessage *message;
	ScScan	   *scan;
	int			nspans = 0;
	ListCell   *lc;

	foreach(lc, wanted)
	{
		const ScRefetch *one = lfirst(lc);
		int			i = foreach_current_index(lc);

		if (at[i] == one->noffsets)
			continue;
		spans[nspans] = next_span(one, at[i]);
		at[i] = position_of(one, spans[nspans++].end);
	}
	scan = sc_scan_create_spans(stream, attnums, nspans, spans, cx);
	while (nspans > 0 && (message = sc_scan_next_message(scan)) != NULL)
		if (sc_refetch_wants(wanted, message->partition, message->offset))
			sc_spool_put(find(wanted, message->partition)->spool, message);

	/* Its connection goes with it. */
	MemoryContextDelete(cx);
	pfree(spans);
	return nspans > 0;
}

void
sc_refetch_read(Oid stream, const Bitmapset *attnums, List *wanted)
{
	int64	   *at = palloc0(sizeof(int64) * Max(list_length(wanted), 1));
	ListCell   *lc;

	foreach(lc, wanted)
		((ScRefetch *) lfirst(lc))->spool = sc_spool_create();
	while (wanted != NIL && read_spans(stream, attnums, wanted, at))
		CHECK_FOR_INTERRUPTS();
	foreach(lc, wanted)
		sc_spool_rewind(((ScRefetch *) lfirst(lc))->spool);
	pfree(at);
}

bool
sc_refetch_get(const List *wanted, int32 partition, int64 offset, ScMessage *message)
{
	ScSpool    *spool = find(wanted, partition)->spool;
	const ScMessage *next;

	while ((next = sc_spool_peek(spool)) != NULL && next->offset <= offset)
	{
		sc_spool_get(spool, message);
		if (message->offset == offset)
			return true;
	}
	return false;
}

void
sc_refetch_close(List *wanted)
{
	ListCell   *lc;

	foreach(lc, wanted)
		sc_spool_close(((ScRefetch *) lfirst(lc))->spool);
}
