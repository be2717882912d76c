/*-------------------------------------------------------------------------
 *
 * ledger_private.h
 *		The two halves of a flush: its transaction, and a rollup's offsets in it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_LEDGER_PRIVATE_H
#define SC_LEDGER_PRIVATE_H

#include "ledger.h"

/* How many of the task's partitions does the flush move? */
extern int	sc_ledger_count_moving(const ScTask *task);

/* Lock the task's offsets, in the order of partitions, where they are still ours. */
extern void sc_ledger_fence(const ScTask *task);

/* Move the offsets and the books, in one UPDATE for all partitions. */
extern void sc_ledger_advance(const ScTask *task);

#endif							/* SC_LEDGER_PRIVATE_H */
