/*-------------------------------------------------------------------------
 *
 * launcher.h
 *		Which processes there are: the launcher, its probes, the workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_LAUNCHER_H
#define SC_LAUNCHER_H

#include "streamcount.h"

/* From _PG_init, when preloaded: the static worker and the utility hook. */
extern void sc_launcher_register(void);

extern PGDLLEXPORT void streamcount_launcher_main(Datum arg);
extern PGDLLEXPORT void streamcount_probe_main(Datum arg);

#endif							/* SC_LAUNCHER_H */
