/*-------------------------------------------------------------------------
 *
 * ledger_private.h
 *		What the files of the ledger share: a rollup's offsets, in a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_LEDGER_PRIVATE_H
#define SC_LEDGER_PRIVATE_H

#include "ledger.h"

/* Before rows of rollup_progress are locked, to be updated later */
extern void sc_ledger_lock_progress(void);

/* How many of the task's partitions does the flush move? */
extern int	sc_ledger_count_moving(const ScTask *task);

/* Lock the task's offsets, in the order of partitions, where they are still ours. */
extern void sc_ledger_fence(const ScTask *task);

/* Move the offsets and the books, in one UPDATE for all partitions. */
extern void sc_ledger_advance(const ScTask *task);

#endif							/* SC_LEDGER_PRIVATE_H */
