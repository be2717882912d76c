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
 * From now on this process gives way: no lock is waited for so long that
 * somebody else is ended by a deadlock with us.  It ends in an ERROR.
 */
extern void sc_lock_wait_begin(void);

/* Is that what the ERROR says?  Then it is to be tried again. */
extern bool sc_lock_wait_is_over(int sqlerrcode);

/* Outside of transactions, before it is.  Serves interrupts. */
extern void sc_lock_wait_pause(int ms);

#endif							/* SC_LOCK_WAIT_H */
