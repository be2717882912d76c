/*-------------------------------------------------------------------------
 *
 * stats_crash_file.c
 *		Crashes of workers that outlive the postmaster.
 *
 * With restart_after_crash off, as where something else starts the server
 * again, a crash ends the postmaster, and all that it remembers: a worker that
 * crashes at each start would do so for ever.  So each crash leaves a file
 * behind, which the next postmaster takes; one that goes on removes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "pgstat.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "stats_private.h"

#define CRASH_FILE PGSTAT_STAT_PERMANENT_DIRECTORY "/streamcount.crashes"
#define CRASH_FILE_NEW CRASH_FILE ".new"
/* To be changed with ScDeaths */
#define CRASH_FILE_MAGIC 0x53430001

/* Who starts a server later than that has had the time to look. */
#define OLDEST_MS (10 * 60 * 1000)

typedef struct Header
{
	uint32		magic;
	uint32		size;			/* of one ScDeaths */
	int32		n;
	TimestampTz written_at;
} Header;

static void
complain(const char *what, const char *file)
{
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", what, file)));
}

/* In the postmaster, to which no ERROR may happen */
void
sc_stats_crash_write(const ScDeaths *deaths, int n)
{
	Header		header = {CRASH_FILE_MAGIC, sizeof(ScDeaths), n, GetCurrentTimestamp()};
	FILE	   *file = AllocateFile(CRASH_FILE_NEW, PG_BINARY_W);
	bool		written;

	if (file == NULL)
	{
		complain("create", CRASH_FILE_NEW);
		return;
	}
	written = fwrite(&header, sizeof(header), 1, file) == 1 &&
		fwrite(deaths, sizeof(ScDeaths), n, file) == (size_t) n;
	if (FreeFile(file) != 0 || !written)
		complain("write", CRASH_FILE_NEW);
	else if (rename(CRASH_FILE_NEW, CRASH_FILE) != 0)
		complain("rename", CRASH_FILE_NEW);
}

/* What is old, or cannot have been written by us, is not believed. */
static int
take(FILE *file, ScDeaths *deaths, int max)
{
	TimestampTz now = GetCurrentTimestamp();
	Header		header;
	int			n = 0;

	if (fread(&header, sizeof(header), 1, file) != 1 ||
		header.magic != CRASH_FILE_MAGIC || header.size != sizeof(ScDeaths) ||
		TimestampDifferenceExceeds(header.written_at, now, OLDEST_MS))
		return 0;
	for (int i = 0; i < header.n && n < max; i++)
	{
		ScDeaths	d;

		if (fread(&d, sizeof(d), 1, file) != 1)
			break;
		if (d.n > 0 && d.n <= SC_MAX_DEATHS)
			deaths[n++] = d;
	}
	return n;
}

int
sc_stats_crash_read(ScDeaths *deaths, int max)
{
	FILE	   *file = AllocateFile(CRASH_FILE, PG_BINARY_R);
	int			n;

	if (file == NULL)
	{
		if (errno != ENOENT)
			complain("open", CRASH_FILE);
		return 0;
	}
	n = take(file, deaths, max);
	FreeFile(file);
	return n;
}

void
sc_stats_crash_unlink(void)
{
	if (unlink(CRASH_FILE) != 0 && errno != ENOENT)
		complain("remove", CRASH_FILE);
}
