/*-------------------------------------------------------------------------
 *
 * guc.h
 *		Every setting of streamcount.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_GUC_H
#define SC_GUC_H

/* Which way a rollup takes; kept with it when it is created. */
typedef enum ScWayWanted
{
	SC_WAY_AUTO,
	SC_WAY_EXECUTOR,
	SC_WAY_TALLY
} ScWayWanted;

extern bool sc_enabled;
extern char *sc_bootstrap_servers;
extern int	sc_flush_interval;	/* milliseconds */
extern int	sc_batch_mem;		/* kilobytes of messages in hand */
extern int	sc_tally_mem;		/* kilobytes of tallies */
extern int	sc_fetch_mem;		/* kilobytes that librdkafka may read ahead */
extern int	sc_max_workers;
extern int	sc_max_partitions;	/* (rollup, partition) pairs shown live */
extern int	sc_metadata_interval;	/* seconds */
extern int	sc_reject_payload_limit;	/* kilobytes of a rejected payload kept */
extern int	sc_reject_payload_total;	/* kilobytes of them kept of one rollup */

extern int	sc_crash_limit;		/* crashes of a unit's workers; 0: no limit */
extern int	sc_crash_window;	/* seconds, in which so many stop it */

extern int	sc_way;				/* ScWayWanted */

/* preloaded: the settings that only the postmaster can have, too. */
extern void sc_guc_define(bool preloaded);

#endif							/* SC_GUC_H */
