/*-------------------------------------------------------------------------
 *
 * session.c
 *		How our processes begin their sessions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"

#include "identity.h"
#include "session.h"

/*
 * exit() would run what libraries have left for it, as OpenSSL its cleanup,
 * while librdkafka's threads are using them.  PostgreSQL's own is done by now.
 */
static void
leave_at_once(int code, Datum arg)
{
	_exit(code);
}

void
sc_session_never_exit(void)
{
	on_proc_exit(leave_at_once, (Datum) 0);
}

/*
 * Not the default handler of background workers: it raises its error from
 * within the handler, whatever the process is at.
 */
void
sc_session_serve_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/*
 * Two kinds: those that would end or fail us from outside, and those that
 * change what a statement means or how values are written as text.  Those of
 * the second kind that a rollup's creator chose are set with its query.
 */
void
sc_session_force_settings(void)
{
	static const char *const settings[][2] = {
		{"role", "none"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
		{"zero_damaged_pages", "off"},
		{"ignore_checksum_failure", "off"},
		{"default_tablespace", ""},
		{"temp_tablespaces", ""},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	sc_identity_fix_settings(true);
}

/* The flag goes first, or a signal in between would be lost. */
bool
sc_session_reload(void)
{
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}
