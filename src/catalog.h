/*-------------------------------------------------------------------------
 *
 * catalog.h
 *		The definitions of rollups, and how far each has come.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_CATALOG_H
#define SC_CATALOG_H

#include "streamcount.h"

/* The last message that was read of a partition: to know it again. */
typedef struct ScSeen
{
	int64		offset;			/* -1: none, or it is not to be looked for */
	int64		hash;			/* of all that a message has beside headers */
} ScSeen;

/* One partition of one rollup, as committed. */
typedef struct ScProgress
{
	int32		partition;
	int64		start_offset;
	int64		next_offset;
	int			rejected_in_row;
	ScSeen		seen;
	bool		paused;
	bool		halted;
	char	   *cluster;
} ScProgress;

typedef struct ScRollup
{
	Oid			relid;			/* view <name> */
	Oid			query;			/* view <name>_query */
	Oid			data;			/* table <name>_data */
	Oid			stream;
	Oid			owner;
	TransactionId version;		/* of its row, which resume() writes */
	char	   *name;			/* qualified and quoted */
	char	   *start;			/* as given to create_rollup; NULL: the stream's */
	char	   *fingerprint;	/* of the stream, as accepted */
	List	   *settings;		/* name, value, name, value … of the creation */
	bool		owners_differ;
	bool		logged;			/* its data table outlives a crash */
	bool		complete;		/* no restore of it is under way */
	bool		paused;			/* by pause() */
	bool		halted;			/* as a whole */
	const char *missing_topic;	/* did not exist when it had read nothing; or NULL */
	const char *missing_in;		/* in this cluster; NULL: not known */
	int			nprogress;
	ScProgress *progress;		/* by partition */
} ScRollup;

/* Catalog look-ups of single objects; InvalidOid or NULL where there is none. */
extern Oid	sc_catalog_owner(void);
extern bool sc_catalog_is_windows(Oid function);
extern bool sc_catalog_is_internal(Oid function);	/* PostgreSQL's own, in C */
extern const char *sc_catalog_function_name(Oid function);	/* streamcount's own */
extern bool sc_catalog_is_rollup(Oid relid);
extern int	sc_catalog_array_length(Datum array);
extern const char *sc_catalog_merge(Oid aggregate);

/* In a transaction with a snapshot; everything lives in cx. */
extern List *sc_catalog_rollups(Oid stream, MemoryContext cx);
extern ScRollup *sc_catalog_rollup(Oid relid, MemoryContext cx);

#endif							/* SC_CATALOG_H */
