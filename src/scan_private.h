/*-------------------------------------------------------------------------
 *
 * scan_private.h
 *		What the files of the scan share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SCAN_PRIVATE_H
#define SC_SCAN_PRIVATE_H

#include "compat.h"
#include "scan.h"
#include "source.h"
#include "utils/timestamp.h"

typedef struct ScScanPartition
{
	int64		next;			/* offset to read */
	int64		end;			/* first offset not to read */
	bool		done;
} ScScanPartition;

struct ScScan
{
	MemoryContext cx;
	MemoryContextCallback on_delete;	/* an ERROR ends no scan otherwise */
	ScStream   *stream;
	Bitmapset  *attnums;
	int			nspans;			/* of spans, by partition; NULL: the stream as a whole */
	const ScSpan *spans;
	ScSource   *source;			/* NULL: not connected */
	char		event[512];		/* what librdkafka said last of its troubles */
	TimestampTz heard_at;		/* the last sign of life */

	int			npartitions;
	int64	   *starts;			/* asked for once; a restart keeps them */
	int64	   *ends;
	ScScanPartition *partitions;
	int			nopen;			/* partitions that are not done */

	ScFetch    *entries;		/* taken from the source, not yet in the batch */
	int			nentries;
	int			next_entry;
	ScBatch    *batch;
	int			next_row;
	int64		number;			/* of the last row returned */

	int64		nleft_out;		/* in this reading */
	int64		max_left_out;	/* in the longest one */
	char	   *first_left_out; /* where and why */
};

/* One turn of waiting for an answer: ERROR when it has lasted too long. */
extern void sc_scan_check_patience(ScScan *scan, const char *error);

/* Where the reading begins and ends in each partition, as numbers */
extern void sc_scan_ask_range(ScScan *scan);

pg_noreturn extern void sc_scan_report_missing(const ScScan *scan);
pg_noreturn extern void sc_scan_report_denied(const ScScan *scan);

#endif							/* SC_SCAN_PRIVATE_H */
