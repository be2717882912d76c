/*-------------------------------------------------------------------------
 *
 * tallier.h
 *		One rollup's messages into its tally, and the tally into rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TALLIER_H
#define SC_TALLIER_H

#include "streamcount.h"

#include "compile_tally.h"
#include "decode_quick.h"
#include "tally.h"

typedef struct ScTallier ScTallier;

typedef enum ScTaken
{
	SC_TAKEN_DOUBT,				/* nothing was done: it is for the executor */
	SC_TAKEN_FILTERED,			/* the query makes no row of it */
	SC_TAKEN_COUNTED
} ScTaken;

/* In a transaction; the plan must live as long as cx. */
extern ScTallier *sc_tallier_create(const ScTallyPlan *plan, const ScStream *stream,
									MemoryContext cx);

/*
 * Take one message.  Where the plan throws it needs a transaction, and an
 * ERROR is a doubt, too: nothing was done then.  Except where the tally was
 * being added to: it has lacked memory, and what it holds is worth nothing.
 */
extern ScTaken sc_tallier_take(ScTallier *tallier, const ScQuickValue *columns);
extern bool sc_tallier_is_adding(const ScTallier *tallier);

/* So many entries a message, or a token of it, can make. */
extern int	sc_tallier_chains(const ScTallier *tallier);

extern ScTally *sc_tallier_tally(ScTallier *tallier);
extern void sc_tallier_forget(ScTallier *tallier);

/*
 * The rows that the tally adds to the data table: each key once, in the
 * order of the tally's sort.  Values live until the next call.
 */
typedef struct ScTallierRows ScTallierRows;

extern ScTallierRows *sc_tallier_rows_begin(ScTallier *tallier, MemoryContext cx);
extern bool sc_tallier_rows_next(ScTallierRows *rows, Datum *values, bool *isnull);

#endif							/* SC_TALLIER_H */
