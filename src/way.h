/*-------------------------------------------------------------------------
 *
 * way.h
 *		A way from messages to rows of the data table.
 *
 * A worker accepts messages into a way; the ledger merges them, rollup by
 * rollup, inside its transaction; after the commit, or after any error that
 * ends the batch, the worker forgets them.  What a way holds never outlives
 * that, and all ways give the same rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_WAY_H
#define SC_WAY_H

#include "streamcount.h"

#include "task.h"

typedef struct ScWay ScWay;

typedef struct ScWayMethods
{
	const char *name;
	/* Messages are accepted between these two; there is no transaction then. */
	void		(*begin_accepting) (ScWay *way);
	void		(*end_accepting) (ScWay *way);
	void		(*accept) (ScWay *way, const ScMessage *message);
	/* Flush before the next message is accepted. */
	bool		(*full) (ScWay *way);
	/* In a transaction, before any lock: what can be made ready. */
	void		(*prepare) (ScWay *way, List *tasks);
	/*
	 * Which messages the task takes, which it rejects, where it halts: fills
	 * the parts' new_next, rejected and halt_reason, and left_out.
	 */
	void		(*judge) (ScWay *way, ScTask *task);
	/*
	 * A judgement came too late: messages behind a halt are counted already.
	 * They must be forgotten, and read again by the executor's way.
	 */
	bool		(*spoiled) (ScWay *way);
	/* Merge into the data table; fills counted, filtered and rows_written. */
	void		(*merge) (ScWay *way, ScTask *task);
	/*
	 * The merge failed by a message's fault: find the messages that the
	 * query fails on.  There may be none.
	 */
	void		(*blame) (ScWay *way, ScTask *task);
	void		(*forget) (ScWay *way);
	int64		(*messages) (ScWay *way);
} ScWayMethods;

struct ScWay
{
	const ScWayMethods *methods;
};

/* The defining query itself, run by PostgreSQL's executor over the batch. */
extern ScWay *sc_way_executor(const ScStream *stream, const Bitmapset *columns,
							  MemoryContext cx);

/* The C tally, for the tasks that have a plan; all else goes the executor's way. */
extern ScWay *sc_way_tally(const ScStream *stream, const Bitmapset *columns,
						   List *tasks, MemoryContext cx);

#endif							/* SC_WAY_H */
