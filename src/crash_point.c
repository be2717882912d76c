/*-------------------------------------------------------------------------
 *
 * crash_point.c
 *		What happens at the places of crash_point.h.
 *
 * The setting is 'point[:nth] action [always]'.  It strikes at the nth time
 * that a worker comes to the point; a worker that was started after it was
 * set goes by, unless it says "always": so one setting is one fault.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"

#include "crash_point.h"

#define WORD_LEN 32

typedef struct Strike
{
	char		point[WORD_LEN];	/* "": none */
	int			nth;
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
	"error",					/* as where there is no memory left */
	"stop"						/* by SIGSTOP, until SIGCONT */
};

char	   *sc_crash_point_setting = NULL;
char	   *sc_crash_point_worker = NULL;

static Strike strike;
static int	set_in = 0;			/* the process that was told of it */
static int	times = 0;

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
	result->nth = 1;
	n = sscanf(text, "%31[a-z_]:%d %31s %31s", result->point, &result->nth, result->action, always);
	if (n < 2)
		n = sscanf(text, "%31[a-z_] %31s %31s", result->point, result->action, always) + 1;
	result->always = strcmp(always, "always") == 0;
	return n == 3 + result->always && result->nth > 0 &&
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
	times = 0;
}

static bool
is_meant(const char *name)
{
	return strcmp(strike.point, name) == 0 && MyBgworkerEntry != NULL &&
		(strike.always || set_in == MyProcPid) &&
		strstr(MyBgworkerEntry->bgw_name, sc_crash_point_worker) != NULL;
}

void
sc_crash_point(const char *name)
{
	const char *action = strike.action;

	if (!is_meant(name) || ++times != strike.nth)
		return;
	ereport(LOG, (errmsg("crash point %s: %s", name, action)));
	if (strcmp(action, "kill") == 0)
		kill(MyProcPid, SIGKILL);
	else if (strcmp(action, "abort") == 0)
		abort();
	else if (strcmp(action, "stop") == 0)
		kill(MyProcPid, SIGSTOP);
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
