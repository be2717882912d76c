/*-------------------------------------------------------------------------
 *
 * clock.c
 *		A wait by the clock by which is waited.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "clock.h"

void
sc_clock_wait_until(TimestampTz end)
{
	for (TimestampTz now = sc_clock_now(); now < end; now = sc_clock_now())
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(now, end) + 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	SetLatch(MyLatch);
}
