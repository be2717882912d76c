/*-------------------------------------------------------------------------
 *
 * arrivals.h
 *		What comes from the source, and what it means for a unit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_ARRIVALS_H
#define SC_ARRIVALS_H

#include "streamcount.h"

#include "source.h"
#include "unit.h"

extern bool sc_arrivals_want_headers(const ScStream *stream);
extern void sc_arrivals_assign(ScServed *served, ScSource *source);

/*
 * Serve events: they change the state that is shown, and nothing else.  True
 * when all brokers were lost.
 */
extern bool sc_arrivals_events(ScServed *served, ScSource *source);

/* Some brokers have refused us for so long that another client is to try. */
extern bool sc_arrivals_refused_long(const ScServed *served, TimestampTz now);

/*
 * Take what is there into the unit's way, as far as there is room; how many
 * entries, and whether no more has arrived so far.
 */
extern int	sc_arrivals_take(ScServed *served, ScSource *source, TimestampTz now,
							 bool *drained);

/*
 * Halt, note a loss, or end the worker: whatever the noted fault asks for.
 * What was taken before it must have been flushed.
 */
extern void sc_arrivals_meet_fault(ScServed *served, ScSource *source);

/* Is there anything that a flush would write? */
extern bool sc_arrivals_pending(const ScServed *served);

/* Are there messages that were there when the ends were last learnt? */
extern bool sc_arrivals_behind(const ScServed *served);

/*
 * Short questions; false when they were not answered.  Ends are answered when
 * those of all partitions are known; watermarks, when those that are led are.
 */
extern bool sc_arrivals_ask_ends(ScServed *served, ScSource *source, int timeout_ms);
extern bool sc_arrivals_ask_watermarks(ScServed *served, ScSource *source, int timeout_ms);

/*
 * Read the last message of partitions again, to compare it: of those that
 * asked for it by what came, or of all others that are read to their ends.
 */
extern void sc_arrivals_look_back(ScServed *served, ScSource *source, bool asked_for);

/* Between arrivals.c, arrivals_again.c and arrivals_ask.c */
extern void sc_arrivals_halt(const ScTask *task, const ScPart *part,
							 const char *reason, const char *hint);
extern void sc_arrivals_check_ends(ScServed *served);
extern void sc_arrivals_note_seen(ScServed *served);
extern int64 sc_arrivals_begin(const ScServed *served, ScPosition *position);
extern bool sc_arrivals_is_same(const ScServed *served, const ScMessage *message);
extern bool sc_arrivals_must_look_back(ScServed *served, ScPosition *position, TimestampTz now);
extern void sc_arrivals_halt_others(const ScServed *served, int32 partition);

#endif							/* SC_ARRIVALS_H */
