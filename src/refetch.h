/*-------------------------------------------------------------------------
 *
 * refetch.h
 *		Single messages, read from Kafka once more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_REFETCH_H
#define SC_REFETCH_H

#include "streamcount.h"

#include "spool.h"

/* The messages of one partition that are wanted. */
typedef struct ScRefetch
{
	int32		partition;
	int64		noffsets;
	int64		max_offsets;
	int64	   *offsets;		/* ascending */
	ScSpool    *spool;			/* those that Kafka still has, in their order */
} ScRefetch;

/* Append to the list of ScRefetch, by partition and offset. */
extern List *sc_refetch_want(List *wanted, int32 partition, int64 offset);

extern bool sc_refetch_wants(const List *wanted, int32 partition, int64 offset);

/*
 * Fill their spools; headers are read where attnums has a column of them.
 * The brokers are asked, which takes its time: hold no locks.
 */
extern void sc_refetch_read(Oid stream, const Bitmapset *attnums, List *wanted);

/*
 * One that is wanted, in the current memory context; false where Kafka has
 * it no more.  To be asked for in the order of partition and offset.
 */
extern bool sc_refetch_get(const List *wanted, int32 partition, int64 offset, ScMessage *message);

extern void sc_refetch_close(List *wanted);

#endif							/* SC_REFETCH_H */
