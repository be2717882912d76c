/*-------------------------------------------------------------------------
 *
 * task.h
 *		A rollup as its worker serves it, and what one flush does to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TASK_H
#define SC_TASK_H

#include "streamcount.h"

#include "datatype/timestamp.h"

#include "catalog.h"

/* One partition of a task.  The lower half is what the flush in hand adds. */
typedef struct ScPart
{
	int32		partition;
	bool		active;			/* neither paused nor halted */
	int64		next;			/* committed next_offset */
	int			rejected_in_row;	/* committed */
	ScSeen		seen;			/* committed */
	int64		other_at;		/* where another message was found than was read; -1 */
	int64		last_ms;		/* Kafka's time of the last message; -1: not known */

	int64		new_next;
	int64		counted;
	int64		filtered;
	int64		rejected;
	int			new_rejected_in_row;
	ScSeen		new_seen;
	int64		tallied_before; /* messages that the tally took before the one judged last */
	int64		new_last_ms;
	const char *halt_reason;	/* the flush ends in a halt of the partition */
	const char *halt_hint;
} ScPart;

typedef enum ScLeftOutKind
{
	SC_LEFT_OUT_REJECTED,
	SC_LEFT_OUT_LOST
} ScLeftOutKind;

/* A range of offsets that is not counted, and why. */
typedef struct ScLeftOut
{
	ScLeftOutKind kind;
	int32		partition;
	int64		first_offset;
	int64		end_offset;
	const ScMessage *message;	/* of a rejected one */
	const ScReject *why;
} ScLeftOut;

typedef struct ScTask
{
	ScRollup   *rollup;
	Bitmapset  *columns;		/* of the stream, that the query reads */
	const struct ScTallyPlan *plan; /* NULL: its messages go the executor's way */
	int			nparts;
	ScPart	   *parts;
	char	   *not_begun;		/* why it has no part of some partitions; NULL: it has all */
	TimestampTz not_begun_since;
	bool		set_aside;		/* halted or blocked: not part of the next flush */

	/*
	 * By row of the batch: how many messages of the partition the tally took
	 * before it; -1: it took the row itself.  NULL: it takes none.
	 */
	const int64 *tallied;

	/* Of the flush in hand: */
	bool	   *shown;			/* by row of the batch */
	bool	   *marked;			/* the query made something of the row */
	ScReject  **refused;		/* the query failed on the row; NULL: on none */
	List	   *left_out;		/* ScLeftOut */
	int64		rows_written;
	int			careful_tries;
} ScTask;

extern ScPart *sc_task_part(const ScTask *task, int32 partition);

/* What was judged was judged of one batch: another one may be longer. */
extern void sc_task_forget(ScTask *task);

#endif							/* SC_TASK_H */
