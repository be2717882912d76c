/*-------------------------------------------------------------------------
 *
 * source_library.c
 *		Which librdkafka is it?
 *
 * The one that is loaded is of the machine that runs us, which may be another
 * machine than the one that built us.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source_internal.h"

/* The oldest that will do: to build with, and to run with */
#define OLDEST 0x020002ff
#define OLDEST_NAME "2.0.2"

#if RD_KAFKA_VERSION < OLDEST
#error "streamcount needs librdkafka 2.0.2 or newer"
#endif

void
sc_source_check_library(void)
{
	if (rd_kafka_version() < OLDEST)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("librdkafka %s is too old for streamcount", rd_kafka_version_str()),
				 errhint("Install librdkafka " OLDEST_NAME " or later, and restart the server.")));
}

const char *
sc_source_library_version(void)
{
	return rd_kafka_version_str();
}
