/*-------------------------------------------------------------------------
 *
 * identity.h
 *		Acting as somebody else for a few statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_IDENTITY_H
#define SC_IDENTITY_H

#include "streamcount.h"

typedef struct ScIdentity
{
	Oid			user;
	int			sec_context;
	int			guc_level;
} ScIdentity;

/*
 * Until sc_identity_leave(), act as the extension's owner under a locked
 * search_path: for streamcount's own tables.  An error undoes it, too.
 */
extern void sc_identity_enter_owner(ScIdentity *saved);

/*
 * Act as a role in a security-restricted operation: for code that the role
 * may have written.  It is under a locked search_path, too: the one in force
 * may be a third role's, whose functions would become this one's.  Whatever it
 * sets is undone on leaving.
 */
extern void sc_identity_enter_restricted(ScIdentity *saved, Oid user);
extern void sc_identity_leave(const ScIdentity *saved);

extern void sc_identity_lock_search_path(void);

/*
 * What statements mean and how values are written as text, whatever the
 * session has set: for good, or until sc_identity_leave().
 */
extern void sc_identity_fix_settings(bool for_good);

#endif							/* SC_IDENTITY_H */
