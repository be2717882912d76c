/*-------------------------------------------------------------------------
 *
 * retry.h
 *		Rejects, judged once more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_RETRY_H
#define SC_RETRY_H

#include "streamcount.h"

#include "catalog.h"
#include "utils/array.h"

typedef struct ScRetried
{
	int64		counted;		/* or filtered by the query */
	int64		rejected;		/* again */
} ScRetried;

/*
 * The rejects of these ids, or all (NULL), in the caller's transaction.  What
 * was not kept of them is read from Kafka, before any lock that a worker
 * waits for is taken.
 */
extern ScRetried sc_retry(const ScRollup *rollup, ArrayType *ids);

#endif							/* SC_RETRY_H */
