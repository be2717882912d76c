/*-------------------------------------------------------------------------
 *
 * sqlapi.h
 *		What the SQL functions share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SQLAPI_H
#define SC_SQLAPI_H

/* May the current user see the rollup?  Who may read it, and pg_monitor, may. */
extern bool sc_sqlapi_may_see(Oid rollup);

#endif							/* SC_SQLAPI_H */
