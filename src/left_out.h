/*-------------------------------------------------------------------------
 *
 * left_out.h
 *		Messages that are not counted, each with its reason.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_LEFT_OUT_H
#define SC_LEFT_OUT_H

#include "streamcount.h"

#include "executor/spi.h"
#include "utils/array.h"
#include "utils/portal.h"

#include "task.h"

/* What a row keeps of its message, in bytes: the sum is in the books. */
#define SC_LEFT_OUT_BYTES \
	"(COALESCE(pg_catalog.octet_length(payload), 0)::pg_catalog.int8 OPERATOR(pg_catalog.+)" \
	" COALESCE(pg_catalog.octet_length(key), 0) OPERATOR(pg_catalog.+)" \
	" COALESCE(pg_catalog.octet_length(headers::pg_catalog.text), 0))"

/*
 * All of these inside the caller's transaction, as the extension's owner,
 * connected to SPI.  Entries are ScLeftOut.
 */
extern void sc_left_out_write(const ScRollup *rollup, List *entries);

/* A reject, with what is kept of its message. */
typedef struct ScKept
{
	int64		id;
	bool		whole;			/* else it must be read again */
	bool		has_time;
	ScMessage	message;		/* without headers; in the current memory context */
} ScKept;

/* What of a message the row alone cannot tell, though the query reads it. */
typedef struct ScKeptNeeds
{
	bool		headers;
	bool		time;
} ScKeptNeeds;

/* The rejects, of these ids or all (NULL), by partition and offset. */
extern Portal sc_left_out_open(const ScRollup *rollup, ArrayType *ids, ScKeptNeeds needs,
							   bool only_those_not_whole);
extern bool sc_left_out_next(Portal rejects, ScKept *kept);

/* It is counted now: returns the bytes that the row kept. */
extern int64 sc_left_out_remove(int64 id);

/* It was tried once more, and is rejected again. */
extern void sc_left_out_reject_again(const ScRollup *rollup, int64 id, const ScReject *why);

/* It was to be tried once more, but its message is gone. */
extern void sc_left_out_note_gone(int64 id);

/* The one number that the last statement has answered; frees the answer. */
extern int64 sc_left_out_answer(void);

/* A plan for the session's life */
extern SPIPlanPtr sc_left_out_prepare(const char *sql, int nargs, Oid *argtypes);

#endif							/* SC_LEFT_OUT_H */
