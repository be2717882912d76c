/*-------------------------------------------------------------------------
 *
 * session.h
 *		How our processes begin their sessions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SESSION_H
#define SC_SESSION_H

#include "streamcount.h"

/* First of all, for a process that has threads: it ends without exit(). */
extern void sc_session_never_exit(void);

/*
 * Signals: SIGTERM ends the process at its next interrupt, SIGHUP raises
 * ConfigReloadPending.
 */
extern void sc_session_serve_signals(void);

/*
 * To be called before the connection: what ALTER DATABASE or ALTER ROLE set
 * must not change what we do.
 */
extern void sc_session_force_settings(void);

/* Where ConfigReloadPending is raised: true when settings were read again */
extern bool sc_session_reload(void);

#endif							/* SC_SESSION_H */
