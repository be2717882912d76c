/*-------------------------------------------------------------------------
 *
 * decode_input.h
 *		A text to a value of its column's type, read alike in every session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_DECODE_INPUT_H
#define SC_DECODE_INPUT_H

#include "streamcount.h"

#include "fmgr.h"

/* A column's type, and its own input function. */
typedef struct ScInput
{
	const ScColumn *column;
	FmgrInfo	function;
	Oid			ioparam;
	bool		is_time;		/* has words that depend on the clock */
	bool		by_settings;	/* its input may read DateStyle and the like */
} ScInput;

extern void sc_decode_input_create(ScInput *input, const ScColumn *column, MemoryContext home);

/* text: NULL for an SQL NULL, which a domain may refuse */
extern Datum sc_decode_input(ScInput *input, char *text);

#endif							/* SC_DECODE_INPUT_H */
