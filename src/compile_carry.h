/*-------------------------------------------------------------------------
 *
 * compile_carry.h
 *		The row's number, carried up from the stream.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_COMPILE_CARRY_H
#define SC_COMPILE_CARRY_H

#include "nodes/primnodes.h"
#include "refuse.h"

/* The stream's ctid as a column of the outermost query, which is changed. */
extern Var *sc_compile_carry_ctid(const ScStreamPlace *place);

#endif							/* SC_COMPILE_CARRY_H */
