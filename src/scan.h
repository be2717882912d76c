/*-------------------------------------------------------------------------
 *
 * scan.h
 *		A topic read once, from a stream's start to its end as of now.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SCAN_H
#define SC_SCAN_H

#include "streamcount.h"
#include "batch.h"

typedef struct ScScan ScScan;

/* Reads nothing yet.  Lives in cx, and closes its connection with it. */
extern ScScan *sc_scan_create(Oid relid, const Bitmapset *attnums, MemoryContext cx);

/*
 * Or only these spans of a topic, one for a partition at the most and by
 * partition, as far as Kafka has them.  Borrowed.
 */
typedef struct ScSpan
{
	int32		partition;
	int64		first;
	int64		end;			/* the first offset not to read */
} ScSpan;

extern ScScan *sc_scan_create_spans(Oid relid, const Bitmapset *attnums, int nspans,
									const ScSpan *spans, MemoryContext cx);

/* Of spans: the next message as it is, until the next call; NULL at the end. */
extern const ScMessage *sc_scan_next_message(ScScan *scan);

/*
 * The next message that could be decoded, until the next call; NULL at the
 * end.  number counts the rows.
 */
extern ScRow *sc_scan_next(ScScan *scan, int64 *number);

/*
 * The end of one partition; false where no broker tells it soon.  Not while
 * locks are held.
 */
extern bool sc_scan_ask_end(Oid relid, int32 partition, int64 *end);

/* Begin again; the ends stay what they were. */
extern void sc_scan_restart(ScScan *scan);

/* Closes the connection, and warns of what could not be decoded. */
extern void sc_scan_finish(ScScan *scan);

#endif							/* SC_SCAN_H */
