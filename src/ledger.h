/*-------------------------------------------------------------------------
 *
 * ledger.h
 *		Counts, offsets and what is left out, in one transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_LEDGER_H
#define SC_LEDGER_H

#include "streamcount.h"

#include "task.h"
#include "utils/array.h"
#include "way.h"

/* How far a partition was read. */
typedef struct ScEnd
{
	int32		partition;
	int64		offset;			/* its end, where it was reached; else -1 */
	ScSeen		seen;			/* the last message */
} ScEnd;

typedef struct ScFlush
{
	Oid			stream;
	ScWay	   *way;
	List	   *tasks;
	int			nends;
	const ScEnd *ends;
	const volatile bool *stale; /* set when a definition changed */
	int			merge_timeout;	/* milliseconds for one merge; 0: none */
	/* Where it was when an ERROR was raised: */
	ScTask	   *current;		/* NULL: at no rollup's work */
	bool		merging;
	bool		written;		/* rows, which are dead now */
} ScFlush;

/*
 * Write one flush: its own transaction.  False, with nothing written, when
 * the definition that the messages were decoded by is no longer in force, or
 * the way is spoiled.
 */
extern bool sc_ledger_flush(ScFlush *flush);

/*
 * Inside sc_ledger_start(): the first row of a partition that a rollup has not
 * read yet.  False, with nothing written, when the rollup was dropped meanwhile.
 */
extern bool sc_ledger_begin_partition(const ScRollup *rollup, int32 partition,
									  int64 start, const char *cluster);

/* Note the cluster of a rollup's partitions that have none noted. */
extern void sc_ledger_pin_cluster(const ScRollup *rollup, const char *cluster);

/* Note that the topic did not exist in this cluster when the rollup had read nothing. */
extern void sc_ledger_note_missing(const ScRollup *rollup, const char *topic, const char *cluster);

/*
 * A transaction for the calls above, with a snapshot and connected to SPI; of
 * one rollup, or of several (InvalidOid).
 */
extern void sc_ledger_start(Oid rollup);
extern void sc_ledger_commit(void);

/*
 * Do what may fail in such transactions.  NULL: done.  Else what it failed by,
 * in the context; the transaction, and its statement timeout, are gone.
 */
extern ErrorData *sc_ledger_try(void (*body) (void *arg), void *arg, MemoryContext cx);

/* The rollup for which such a transaction has failed; or InvalidOid. */
extern Oid	sc_ledger_failed_for(void);

/*
 * Halt a partition that stands at this offset.  False, with nothing written,
 * when somebody has moved or halted it meanwhile.
 */
extern bool sc_ledger_halt_at(Oid rollup, int32 partition, int64 next_offset,
							  const char *reason, const char *hint);

/*
 * Halt a whole rollup, as it was read.  False, with nothing written, when
 * somebody has meanwhile called resume(): then it is to be read again.
 */
extern bool sc_ledger_halt_as_read(Oid rollup, TransactionId version,
								   const char *reason, const char *hint);

/* A range that Kafka has no more: note it and go on behind. */
extern void sc_ledger_lose(const ScTask *task, int32 partition, int64 end_offset);

/*
 * What a person changes: in the caller's transaction, as the extension's
 * owner, connected to SPI.  Lock, and fill the task's parts: no worker writes
 * the rollup until the transaction ends.
 */
extern void sc_ledger_lock(ScTask *task);

/* Rejects of a partition are counted or filtered now: so many, which kept so many bytes. */
extern void sc_ledger_settle(const ScRollup *rollup, const ScPart *part, int64 bytes);

/* Give up rejects, of these ids or all (NULL): how many there were. */
extern int64 sc_ledger_discard(const ScRollup *rollup, ArrayType *ids);

/*
 * Note what is before the offset as skipped and stand there, whatever message
 * was read last; which ends the partition's halt, also where nothing is
 * skipped.  In how many of the rollups (of one stream)?
 */
extern uint64 sc_ledger_skip(List *rollups, int32 partition, int64 to_offset);

#endif							/* SC_LEDGER_H */
