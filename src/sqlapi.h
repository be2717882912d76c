/*-------------------------------------------------------------------------
 *
 * sqlapi.h
 *		What the SQL functions share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SQLAPI_H
#define SC_SQLAPI_H

#include "nodes/pg_list.h"

/* May the current user see the rollup?  Who may read it, and pg_monitor, may. */
extern bool sc_sqlapi_may_see(Oid rollup);

/* The rollup itself, or all rollups of the stream: ERROR unless each is the caller's. */
extern List *sc_sqlapi_rollups_of(Oid relation);

#endif							/* SC_SQLAPI_H */
