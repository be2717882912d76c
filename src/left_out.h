/*-------------------------------------------------------------------------
 *
 * left_out.h
 *		Messages that are not counted, each with its reason.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_LEFT_OUT_H
#define SC_LEFT_OUT_H

#include "streamcount.h"

#include "task.h"

/* Inside the caller's transaction, connected to SPI; entries are ScLeftOut. */
extern void sc_left_out_write(const ScRollup *rollup, List *entries);

#endif							/* SC_LEFT_OUT_H */
