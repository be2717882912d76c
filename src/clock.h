/*-------------------------------------------------------------------------
 *
 * clock.h
 *		The clock by which is waited.
 *
 * Whatever the system's clock is set to, this one goes on evenly, and is the
 * same for all processes.  Its times are good for differences alone: what is
 * shown to people, or stored, is GetCurrentTimestamp()'s.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_CLOCK_H
#define SC_CLOCK_H

#include <time.h>

#include "datatype/timestamp.h"

static inline TimestampTz
sc_clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

/*
 * Wait at the latch until then, whoever sets it: it tells others than the
 * caller, too, and is set at the end.  Outside of transactions; serves
 * interrupts.
 */
extern void sc_clock_wait_until(TimestampTz end);

#endif							/* SC_CLOCK_H */
