/*-------------------------------------------------------------------------
 *
 * crash_point.c
 *		What happens at the places of crash_point.h.
 *
 * The setting is 'point action [always]'.  It strikes when a worker comes to
 * the point; a worker that was started after it was set goes by, unless it
 * says "always": so one setting is one fault.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"

#include "crash_point.h"

#define WORD_LEN 32

typedef struct Strike
{
	char		point[WORD_LEN];	/* "": none */
	char		action[WORD_LEN];
	bool		always;
} Strike;

static const char *const points[] = {
	"after_poll",				/* messages have come, none is taken */
	"after_tally",				/* a message is taken */
	"before_fence",
	"after_fence",
	"after_upsert",				/* rows are written, more may be to come */
	"before_advance",			/* all of a rollup's rows are written */
	"before_commit",
	"after_commit"
};

static const char *const actions[] = {
	"kill",						/* itself, by signal 9 */
	"postmaster",				/* the postmaster, and itself */
	"abort",
	"fault",					/* a segmentation fault */
	"thread_abort",				/* as a thread of librdkafka would */
	"thread_fault",
	"error"						/* as where there is no memory left */
};

char	   *sc_crash_point_setting = NULL;
char	   *sc_crash_point_worker = NULL;

static Strike strike;
static int	set_in = 0;			/* the process that was told of it */
static bool done = false;

static bool
is_among(const char *word, const char *const *words, int nwords)
{
	for (int i = 0; i < nwords; i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

static bool
parse(const char *text, Strike *result)
{
	char		always[WORD_LEN] = "";
	int			n;

	memset(result, 0, sizeof(*result));
	if (*text == '\0')
		return true;
	n = sscanf(text, "%31s %31s %31s", result->point, result->action, always);
	result->always = strcmp(always, "always") == 0;
	return n == 2 + result->always &&
		is_among(result->point, points, lengthof(points)) &&
		is_among(result->action, actions, lengthof(actions));
}

bool
sc_crash_point_check(char **newval, void **extra, GucSource source)
{
	Strike		ignored;

	return parse(*newval, &ignored);
}

void
sc_crash_point_assign(const char *newval, void *extra)
{
	(void) parse(newval, &strike);
	set_in = MyProcPid;
	done = false;
}

static bool
is_meant(const char *name)
{
	return strcmp(strike.point, name) == 0 && MyBgworkerEntry != NULL &&
		(strike.always || set_in == MyProcPid) &&
		strstr(MyBgworkerEntry->bgw_name, sc_crash_point_worker) != NULL;
}

/* An address that nothing is at; a null pointer's use might be compiled away. */
static volatile int *volatile nowhere = (volatile int *) 64;

static void *
crash(void *action)
{
	if (strstr(action, "fault") != NULL)
		*nowhere = 0;
	else
		abort();
	return NULL;
}

/* Like those of librdkafka, it is sent no signal. */
static void
crash_in_thread(char *action)
{
	pthread_t	thread;
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	if (pthread_create(&thread, NULL, crash, action) == 0)
		pthread_join(thread, NULL);
}

void
sc_crash_point(const char *name)
{
	char	   *action = strike.action;

	if (done || !is_meant(name))
		return;
	done = true;
	ereport(LOG, (errmsg("crash point %s: %s", name, action)));
	if (strcmp(action, "kill") == 0)
		kill(MyProcPid, SIGKILL);
	else if (strcmp(action, "abort") == 0 || strcmp(action, "fault") == 0)
		(void) crash(action);
	else if (strncmp(action, "thread_", 7) == 0)
		crash_in_thread(action);
	else if (strcmp(action, "postmaster") == 0)
	{
		kill(PostmasterPid, SIGKILL);
		kill(MyProcPid, SIGKILL);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory at crash point %s", name)));
}
