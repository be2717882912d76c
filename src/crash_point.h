/*-------------------------------------------------------------------------
 *
 * crash_point.h
 *		Places at which a test makes a worker fail.
 *
 * They are in the library that "make CRASH_POINTS=yes" builds, for tests
 * alone; in any other the macro is nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_CRASH_POINT_H
#define SC_CRASH_POINT_H

#include "postgres.h"

#include "utils/guc.h"

#ifdef STREAMCOUNT_CRASH_POINTS
#define SC_CRASH_POINT(name) sc_crash_point(name)
#else
#define SC_CRASH_POINT(name) ((void) 0)
#endif

/* Settings; guc.c describes them. */
extern char *sc_crash_point_setting;
extern char *sc_crash_point_worker;
extern bool sc_crash_point_check(char **newval, void **extra, GucSource source);
extern void sc_crash_point_assign(const char *newval, void *extra);

extern void sc_crash_point(const char *name);

#endif							/* SC_CRASH_POINT_H */
