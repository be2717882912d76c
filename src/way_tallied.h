/*-------------------------------------------------------------------------
 *
 * way_tallied.h
 *		What the tally took of one task, until it is flushed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_WAY_TALLIED_H
#define SC_WAY_TALLIED_H

#include "tallier.h"
#include "task.h"

/* What the tally took of one partition since the last flush. */
typedef struct ScTook
{
	int64		counted;
	int64		filtered;
	int64		next;			/* behind the last message */
	int64		last_ms;
} ScTook;

/* A task whose messages are tallied. */
typedef struct ScTallied
{
	ScTask	   *task;
	ScTallier  *tallier;
	ScTook	   *took;			/* by part of the task; NULL: nothing yet */
	bool		doubt;			/* of the message in hand */
	int64	   *rows;			/* by row of the batch, see ScTask.tallied */
	int64		max_rows;
} ScTallied;

static inline int64
sc_way_taken(const ScTook *took)
{
	return took->counted + took->filtered;
}

/*
 * What was taken, beside what was judged of the rows in the batch.  False
 * where that came too late: the batch is spoiled, see way.h.
 */
extern bool sc_way_tallied_judge(ScTallied *tallied);

extern void sc_way_tallied_merge(ScTallied *tallied);
extern void sc_way_tallied_forget(ScTallied *tallied);

#endif							/* SC_WAY_TALLIED_H */
