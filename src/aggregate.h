/*-------------------------------------------------------------------------
 *
 * aggregate.h
 *		Aggregates that can be merged: their states, and their results.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_AGGREGATE_H
#define SC_AGGREGATE_H

#include "streamcount.h"
#include "nodes/primnodes.h"

#define SC_MAX_STATES 2

/* One state of an aggregate: an aggregate itself, and how two results merge. */
typedef struct ScAggState
{
	Aggref	   *aggref;
	const char *suffix;			/* for the column's name; "" where it is the only one */
	const char *merge;			/* SQL with %1$s for the old value, %2$s for the new */
} ScAggState;

/* Is it PostgreSQL's own aggregate of this name? */
extern bool sc_aggregate_is(const Aggref *aggref, const char *name);

/* The states that an aggregate is kept as, or an ERROR that says why not. */
extern int	sc_aggregate_states(const Aggref *aggref, ScAggState *states);

/* The aggregate's result, from its states' values. */
extern Node *sc_aggregate_result(const Aggref *aggref, Node *const *values);

#endif							/* SC_AGGREGATE_H */
