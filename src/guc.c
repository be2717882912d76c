/*-------------------------------------------------------------------------
 *
 * guc.c
 *		Every setting of streamcount, its unit and its range.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "crash_point.h"
#include "guc.h"
#include "utils/guc.h"

/* librdkafka's own limit for queued.max.messages.kbytes */
#define MAX_FETCH_MEM	2097151

bool		sc_enabled = true;
char	   *sc_bootstrap_servers = NULL;
int			sc_flush_interval = 50;
int			sc_batch_mem = 32 * 1024;
int			sc_tally_mem = 64 * 1024;
int			sc_fetch_mem = 64 * 1024;
int			sc_max_workers = 8;
int			sc_max_partitions = 4096;
int			sc_metadata_interval = 30;
int			sc_reject_payload_limit = 64;
int			sc_reject_payload_total = 64 * 1024;
int			sc_crash_limit = 5;
int			sc_crash_window = 600;
int			sc_way = SC_WAY_AUTO;

static const struct config_enum_entry way_words[] = {
	{"auto", SC_WAY_AUTO, false},
	{"executor", SC_WAY_EXECUTOR, false},
	{"tally", SC_WAY_TALLY, false},
	{NULL, 0, false}
};

static void
define_ingestion(void)
{
	DefineCustomBoolVariable("streamcount.enabled",
							 "Keeps rollups up to date.",
							 "When off, no worker starts and those that run stop: "
							 "for a restored copy that must not count yet.",
							 &sc_enabled,
							 true,
							 PGC_SIGHUP,
							 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("streamcount.bootstrap_servers",
							   "Sets the Kafka brokers of the server \"streamcount\".",
							   "A comma-separated list of host:port. Other brokers, "
							   "encryption and authentication take CREATE SERVER.",
							   &sc_bootstrap_servers,
							   "localhost:9092",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   NULL, NULL, NULL);

	DefineCustomIntVariable("streamcount.flush_interval",
							"Sets the longest time that a worker gathers messages "
							"before it commits them.",
							"Less shows messages sooner; more makes fewer and larger "
							"transactions.",
							&sc_flush_interval,
							50, 1, 60000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("streamcount.metadata_interval",
							"Sets the time between two looks for new partitions and "
							"for the ends of the known ones.",
							NULL,
							&sc_metadata_interval,
							30, 1, 35,
							PGC_SIGHUP,
							GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("streamcount.reject_payload_limit",
							"Sets how much of a rejected message's payload is kept.",
							"A longer payload is cut. Zero keeps none.",
							&sc_reject_payload_limit,
							64, 0, 1024 * 1024,
							PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("streamcount.reject_payload_total",
							"Sets how much is kept of the payloads, keys and headers "
							"of all rejected messages of one rollup.",
							"Beyond it, rejects are listed without them.",
							&sc_reject_payload_total,
							64 * 1024, 0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);
}

static void
define_memory(void)
{
	DefineCustomIntVariable("streamcount.batch_mem",
							"Sets the memory for decoded messages of one worker or scan.",
							"When it is used up, the messages are committed before "
							"more are taken.",
							&sc_batch_mem,
							32 * 1024, 1024, 1024 * 1024,
							PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("streamcount.tally_mem",
							"Sets the memory for counts that one worker has not committed yet.",
							"When the next message could exceed it, the counts are "
							"committed before more are taken.",
							&sc_tally_mem,
							64 * 1024, 4 * 1024, 4 * 1024 * 1024 - 1,
							PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("streamcount.fetch_mem",
							"Sets the memory for messages that one worker or scan has "
							"fetched ahead.",
							"Workers connect to Kafka anew when it is changed.",
							&sc_fetch_mem,
							64 * 1024, 1024, MAX_FETCH_MEM,
							PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);
}

static void
define_developer(void)
{
	DefineCustomEnumVariable("streamcount.way",
							 "Sets how rollups that are created are kept up to date.",
							 "\"auto\" takes the C tally for queries that it knows, and "
							 "PostgreSQL's executor for all others. \"executor\" takes the "
							 "executor for all; \"tally\" refuses the others.",
							 &sc_way,
							 SC_WAY_AUTO, way_words,
							 PGC_USERSET,
							 GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
}

#ifdef STREAMCOUNT_CRASH_POINTS
static void
define_crash_points(void)
{
	DefineCustomStringVariable("streamcount.crash_point",
							   "Sets where a worker is to fail, and how: 'point action [always]'.",
							   "In a library that was built for tests alone.",
							   &sc_crash_point_setting,
							   "",
							   PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   sc_crash_point_check, sc_crash_point_assign, NULL);

	DefineCustomStringVariable("streamcount.crash_worker",
							   "Sets a part of the name of the workers that are to fail.",
							   NULL,
							   &sc_crash_point_worker,
							   "",
							   PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
}
#endif

static void
define_breaker(void)
{
	DefineCustomIntVariable("streamcount.crash_limit",
							"Sets how many crashes of a stream's workers stop the stream.",
							"Each crash of a worker is one of the whole server. "
							"streamcount.resume() starts it again. Zero sets no limit.",
							&sc_crash_limit,
							5, 0, 20,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("streamcount.crash_window",
							"Sets the time within which so many crashes stop a stream.",
							NULL,
							&sc_crash_window,
							600, 1, 86400,
							PGC_SIGHUP,
							GUC_UNIT_S,
							NULL, NULL, NULL);
}

/* What shared memory and the number of processes are sized by. */
static void
define_sizes(void)
{
	DefineCustomIntVariable("streamcount.max_workers",
							"Sets the maximum number of workers at a time.",
							"They are taken from max_worker_processes.",
							&sc_max_workers,
							8, 1, 1024,
							PGC_POSTMASTER,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("streamcount.max_partitions",
							"Sets how many partitions of rollups are shown live.",
							"Each pair of a rollup and a partition counts. Those beyond "
							"it are counted just as well, but their live state is not shown.",
							&sc_max_partitions,
							4096, 16, 1024 * 1024,
							PGC_POSTMASTER,
							0,
							NULL, NULL, NULL);
}

void
sc_guc_define(bool preloaded)
{
	define_ingestion();
	define_memory();
	define_breaker();
	define_developer();
#ifdef STREAMCOUNT_CRASH_POINTS
	define_crash_points();
#endif
	if (preloaded)
		define_sizes();

	MarkGUCPrefixReserved("streamcount");
}
