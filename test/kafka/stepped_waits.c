/*-------------------------------------------------------------------------
 *
 * stepped_waits.c
 *		Waits until a time of a clock that is set back and forth.
 *
 * To be preloaded beside libfaketime, which does not know of cnd_timedwait():
 * librdkafka would compute its deadlines by the one clock and wait for them by
 * the other.  As in the kernel, a wait that is under way ends when the clock
 * shows its deadline, however the clock gets there.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#define LOOK_NS (50 * 1000 * 1000)	/* how often the clock is looked at */

static int
is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* The kernel's own clock, which libfaketime leaves alone */
static struct timespec
next_look(const struct timespec *left)
{
	struct timespec at;
	long		ns = left->tv_sec == 0 && left->tv_nsec < LOOK_NS ? left->tv_nsec : LOOK_NS;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += ns;
	if (at.tv_nsec >= 1000000000)
	{
		at.tv_nsec -= 1000000000;
		at.tv_sec++;
	}
	return at;
}

int
cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *deadline)
{
	for (;;)
	{
		struct timespec now;
		struct timespec left;
		struct timespec look;
		int			err;

		clock_gettime(CLOCK_REALTIME, &now);
		if (!is_before(&now, deadline))
			return thrd_timedout;
		left.tv_sec = deadline->tv_sec - now.tv_sec;
		left.tv_nsec = deadline->tv_nsec - now.tv_nsec;
		if (left.tv_nsec < 0)
		{
			left.tv_nsec += 1000000000;
			left.tv_sec--;
		}
		look = next_look(&left);
		err = pthread_cond_clockwait((pthread_cond_t *) condition, (pthread_mutex_t *) mutex,
									 CLOCK_MONOTONIC, &look);
		if (err != ETIMEDOUT)
			return err == 0 ? thrd_success : thrd_error;
	}
}
