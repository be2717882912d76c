/*-------------------------------------------------------------------------
 *
 * withdraw.h
 *		DDL that the processes have to hear of, or to make way for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_WITHDRAW_H
#define SC_WITHDRAW_H

#include "streamcount.h"

/* From _PG_init, when preloaded */
extern void sc_withdraw_watch(void);

#endif							/* SC_WITHDRAW_H */
