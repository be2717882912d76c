/*-------------------------------------------------------------------------
 *
 * version.h
 *		Do the library and the extension's SQL fit together?
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_VERSION_H
#define SC_VERSION_H

/*
 * NULL: they do, or there is no extension in this database.  Else what is
 * wrong, and what to do, in the current context.  In a transaction.
 */
extern char *sc_version_mismatch(void);

#endif							/* SC_VERSION_H */
