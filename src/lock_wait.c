/*-------------------------------------------------------------------------
 *
 * lock_wait.c
 *		How long a worker waits for a lock while it holds others.
 *
 * Who finds a deadlock is ended by it, and that may be a person's DROP
 * EXTENSION, or a drop_rollup() in a long migration.  He looks for one when he
 * has waited for deadlock_timeout.  A worker that gives up sooner than that,
 * counted from its own wait or from his, is never in one that he finds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/proc.h"
#include "utils/guc.h"

#include "lock_wait.h"

static void
set_ms(int ms)
{
	char		value[16];

	snprintf(value, sizeof(value), "%d", ms);
	SetConfigOption("lock_timeout", value, PGC_SUSET, PGC_S_OVERRIDE);
}

void
sc_lock_wait_bound(void)
{
	set_ms(Max(DeadlockTimeout / 2, 1));
}

void
sc_lock_wait_unbound(void)
{
	set_ms(0);
}
