/*-------------------------------------------------------------------------
 *
 * sqlapi_window_call.h
 *		What the calls of windows(), tumble(), hop() and cumulate() share.
 *
 * They are called once for every row of a query, with arguments of which
 * mostly the time alone differs.  So what follows from the others is kept
 * with the function call, as is the window found last; and the rows go into
 * a tuplestore, for the executor would put them into one anyway, after
 * looking up their type for every call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SQLAPI_WINDOW_CALL_H
#define SC_SQLAPI_WINDOW_CALL_H

#include "fmgr.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "window.h"

/* What each of the functions keeps from call to call. */
typedef struct ScWindowCall
{
	TupleDesc	desc;
	bytea	   *zone_name;		/* the argument that zone was made of; or NULL */
	ScZone		zone;
} ScWindowCall;

/*
 * What is kept with this call: of that size, beginning with an ScWindowCall,
 * and zero at first but for the type of the rows.
 */
extern ScWindowCall *sc_sqlapi_get_call(FunctionCallInfo fcinfo, Size size);

static inline bool
sc_sqlapi_same_bytes(const void *kept, const void *given)
{
	return kept != NULL && VARSIZE_ANY(kept) == VARSIZE_ANY(given) &&
		memcmp(kept, given, VARSIZE_ANY(given)) == 0;
}

extern bytea *sc_sqlapi_keep_bytes(const void *given, MemoryContext cx);

/* True if the time zone is another than before. */
extern bool sc_sqlapi_keep_zone(FunctionCallInfo fcinfo, ScWindowCall *call, text *name);

extern Tuplestorestate *sc_sqlapi_start_rows(FunctionCallInfo fcinfo);

#endif							/* SC_SQLAPI_WINDOW_CALL_H */
