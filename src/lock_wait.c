/*-------------------------------------------------------------------------
 *
 * lock_wait.c
 *		How long a worker waits for a lock while it holds others.
 *
 * Who finds a deadlock is ended by it, and that may be a person's DROP
 * EXTENSION, or a migration of an hour.  One looks for it once in each wait,
 * after deadlock_timeout.  Where the person waits first, we have to find it
 * before: so we look almost at once.  Where we wait first, there is nothing to
 * be found yet: so we give up before the person looks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "lock_wait.h"

/* Longer than it takes others to write a row, so that most locks are just had. */
#define LOOK_MS 10
/* So long one rollup's lock may hold up the others. */
#define MOST_MS 1000

static void
set_ms(const char *name, int ms)
{
	char		value[16];

	snprintf(value, sizeof(value), "%d", ms);
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

void
sc_lock_wait_begin(void)
{
	int			others_ms = DeadlockTimeout;

	set_ms("lock_timeout", Min(Max(others_ms / 2, LOOK_MS + 1), MOST_MS));
	set_ms("deadlock_timeout", Max(Min(others_ms / 10, LOOK_MS), 1));
	/* It logs after deadlock_timeout: each time, from now on. */
	SetConfigOption("log_lock_waits", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

bool
sc_lock_wait_is_over(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

void
sc_lock_wait_pause(int ms)
{
	sc_clock_wait_until(TimestampTzPlusMilliseconds(sc_clock_now(), ms));
}
