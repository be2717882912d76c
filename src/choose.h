/*-------------------------------------------------------------------------
 *
 * choose.h
 *		Which way a rollup takes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_CHOOSE_H
#define SC_CHOOSE_H

#include "streamcount.h"

#include "compile_tally.h"

/*
 * The plan by which the rollup of a query view is tallied; or NULL where it
 * goes the executor's way: *why (which may be NULL) says what asks for it.
 * The settings are those of the rollup's creation: name, value, name ...
 */
extern ScTallyPlan *sc_choose_plan(const ScStream *stream, Oid query, List *settings,
								   const char **why);

#endif							/* SC_CHOOSE_H */
