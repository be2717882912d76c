/*-------------------------------------------------------------------------
 *
 * guard.h
 *		What may fail, in a subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_GUARD_H
#define SC_GUARD_H

#include "streamcount.h"

/*
 * Run body(arg): NULL, or what it failed by, in the current memory context,
 * with all undone that it did.  It takes no transaction id unless the body
 * writes.  What may_fail() does not take is raised again.
 */
extern ErrorData *sc_guard_run(void (*body) (void *arg), void *arg,
							   bool (*may_fail) (int sqlerrcode));

/* Says the code something of what was tried, and not of this session or the server? */
extern bool sc_guard_is_its_fault(int sqlerrcode);

#endif							/* SC_GUARD_H */
