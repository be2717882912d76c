/*-------------------------------------------------------------------------
 *
 * report.h
 *		What a worker shows of itself: states, positions, answers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_REPORT_H
#define SC_REPORT_H

#include "streamcount.h"

#include "unit.h"

/* One log line for each change into or out of a state that needs a look. */
extern void sc_report_state(const ScServed *served, ScState state, const char *reason);

/* The state of a unit whose topic the brokers do not let it read. */
extern void sc_report_denied(const ScServed *served);

/* Is the last state that was reported one that needs a look? */
extern bool sc_report_in_trouble(void);

/* In how many milliseconds what is shown has to be shown again, or -1. */
extern long sc_report_due(TimestampTz now);

/* Derive the state from the positions, unless the brokers are not there. */
extern void sc_report_progress(const ScServed *served, uint64 end_request);

#endif							/* SC_REPORT_H */
