/*-------------------------------------------------------------------------
 *
 * lock_wait.h
 *		How long a worker waits for a lock while it holds others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_LOCK_WAIT_H
#define SC_LOCK_WAIT_H

#include "streamcount.h"

/*
 * From now on a lock is waited for so long only that nobody who wants one of
 * ours meanwhile is ended by a deadlock: the wait ends in an error of ours,
 * ERRCODE_LOCK_NOT_AVAILABLE, and is to be tried again.
 */
extern void sc_lock_wait_bound(void);

/* From now on as long as it takes. */
extern void sc_lock_wait_unbound(void);

#endif							/* SC_LOCK_WAIT_H */
