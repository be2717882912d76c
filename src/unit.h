/*-------------------------------------------------------------------------
 *
 * unit.h
 *		What one worker serves: a stream, its rollups, their positions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_UNIT_H
#define SC_UNIT_H

#include "streamcount.h"

#include "compat.h"
#include "ledger.h"
#include "source.h"
#include "stats.h"
#include "way.h"

/* One partition of the topic, as this worker reads it. */
typedef struct ScPosition
{
	int32		partition;
	int64		next;			/* of the next message that is expected */
	int64		compare_end;	/* messages before this may have been seen before */
	ScSeen		seen;			/* the last message, of those that are not lent any more */
	const ScMessage *lent;		/* a later one, of those that are; NULL: none */
	bool		look_back;		/* it is to be read again before anything is taken */
	bool		looked_back;	/* it was, since something was taken */
	int64		end;			/* where the last read to the end stopped; -1 */
	bool		at_end;			/* nothing has come since */
	bool		denied;			/* the brokers refuse to give what comes next */
	bool		leaderless;		/* no broker can be asked about it, or read from */
	int64		high_watermark; /* -1: not known */
	int64		low_watermark;	/* -1: not known */
	int64		open_end;		/* where transactions that are open end; -1: not known */
	TimestampTz checked_at;		/* when the watermarks were learnt */
	TimestampTz moved_at;		/* when something last arrived, by clock.h */
	TimestampTz behind_since;	/* something is to come, and nothing has, by clock.h; 0 */
	bool		stalled;
	ScStall		stall;			/* while it is */
	int64		asked_end;		/* for wait() */
	ScState		state;			/* as last shown, and since when */
	TimestampTz since;
} ScPosition;

typedef struct ScServed
{
	ScUnit		unit;
	MemoryContext cx;
	TimestampTz loaded_at;
	ScStream   *stream;
	List	   *rollups;		/* ScRollup: all of the unit's */
	List	   *tasks;			/* ScTask: those that can be served now */
	bool		restoring;		/* some rollup's restore is under way */
	ScRollup   *waits_for;		/* somebody has locked what its query reads */
	char	   *signature;		/* of all that would ask for a new start */
	int			topic_partitions;
	int			npositions;
	ScPosition *positions;
	ScWay	   *way;
	bool		look_back;		/* some position is to */
	bool		leaderless;		/* some position is */
	bool		not_begun;		/* some task has not begun everywhere */
	bool		end_unknown;	/* how far a partition goes that some task starts in */
	int64		bytes;			/* of payloads that the way holds */
	int64		careful;		/* messages left to be read by the executor's way alone */
	bool		careful_done;
	TimestampTz watched_at;		/* for stalls, by clock.h */
	TimestampTz arrived_at;		/* when brokers last sent anything to be taken; 0 */

	/*
	 * Why a broker has not let us in, and since when by clock.h, until the
	 * watermarks of all that are led are told: others may have let us in.
	 */
	char		refusal[SC_REASON_LEN];
	TimestampTz refused_since;
	TimestampTz refused_at;		/* last */
	bool		told;			/* they were, when they were asked for last */

	/* What librdkafka last complained of, and when by clock.h. */
	char		trouble[SC_REASON_LEN];
	TimestampTz trouble_at;

	/* What went wrong with a partition; to be met when the way is empty. */
	bool		faulted;
	ScFetchKind fault;
	int32		fault_partition;
	char		fault_text[256];
} ScServed;

/* NULL: there is nothing to serve any more. */
extern ScServed *sc_unit_load(const ScUnit *unit, MemoryContext cx);

/*
 * Has anything been committed since that asks for a new start?  Where
 * somebody else has locked the stream, that is not known yet.
 */
extern bool sc_unit_changed(const ScServed *served, bool *locked);

/*
 * Make numbers of all starts and commit them, as far as the brokers tell; set
 * the positions.  They are waited for: not in a transaction.
 */
extern void sc_unit_resolve(ScServed *served, ScSource *source);

extern ScPosition *sc_unit_position(const ScServed *served, int32 partition);

/* End, with nothing lost: the launcher starts the next worker at once. */
pg_noreturn extern void sc_unit_start_anew(int elevel, const char *reason);

#endif							/* SC_UNIT_H */
