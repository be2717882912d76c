/*-------------------------------------------------------------------------
 *
 * starts.h
 *		Where rollups begin to read: symbols made numbers, and committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_STARTS_H
#define SC_STARTS_H

#include "streamcount.h"

#include "unit.h"

/*
 * Give every served rollup a progress row for each of the topic's
 * partitions that the brokers tell enough about, and halt those whose rows do
 * not fit the topic.
 */
extern void sc_starts_resolve(ScServed *served, ScSource *source);

/* What could not be begun then; true when some of it is, and a new start takes it up. */
extern bool sc_starts_begin_rest(ScServed *served, ScSource *source);

/* The topic is missing: what comes into it comes after the rollups that have read nothing. */
extern void sc_starts_note_missing(ScServed *served, ScSource *source);

#endif							/* SC_STARTS_H */
