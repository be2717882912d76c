/*-------------------------------------------------------------------------
 *
 * source_thread.c
 *		Signals on librdkafka's threads.
 *
 * librdkafka blocks all signals there, and so do we: one that such a thread
 * took would be lost for PostgreSQL, whose handlers only know the main
 * thread.  But a crash is signalled to the thread that it is of, and where
 * that is blocked the process ends without a word.  So each thread lets the
 * signals of a crash through as it begins, and the handler that counts
 * crashes for the circuit breaker hears of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source_internal.h"

static const int crash_signals[] = {SIGBUS, SIGILL, SIGSEGV};

static rd_kafka_resp_err_t
begin_thread(rd_kafka_t *rk, rd_kafka_thread_type_t type, const char *name, void *opaque)
{
	sigset_t	crashes;

	sigemptyset(&crashes);
	for (int i = 0; i < (int) lengthof(crash_signals); i++)
		sigaddset(&crashes, crash_signals[i]);
	pthread_sigmask(SIG_UNBLOCK, &crashes, NULL);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t
begin_client(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
			 char *errstr, size_t errstr_size)
{
	return rd_kafka_interceptor_add_on_thread_start(rk, "streamcount", begin_thread, NULL);
}

void
sc_source_hear_crashes(rd_kafka_conf_t *conf)
{
	(void) rd_kafka_conf_interceptor_add_on_new(conf, "streamcount", begin_client, NULL);
}

sigset_t
sc_source_block_signals(void)
{
	sigset_t	all;
	sigset_t	before;

	sigfillset(&all);
	for (int i = 0; i < (int) lengthof(crash_signals); i++)
		sigdelset(&all, crash_signals[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	return before;
}
