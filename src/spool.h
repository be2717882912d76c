/*-------------------------------------------------------------------------
 *
 * spool.h
 *		Messages in a temporary file, to be read again in their order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SPOOL_H
#define SC_SPOOL_H

#include "streamcount.h"

typedef struct ScSpool ScSpool;

/* In the current memory context; closed by sc_spool_close() or by an ERROR. */
extern ScSpool *sc_spool_create(void);
extern void sc_spool_close(ScSpool *spool);
extern void sc_spool_put(ScSpool *spool, const ScMessage *message);

/* From here on it is read. */
extern void sc_spool_rewind(ScSpool *spool);

/* The next message without what it points to; NULL behind the last. */
extern const ScMessage *sc_spool_peek(ScSpool *spool);

/* All of it, in the current memory context; on to the one behind. */
extern void sc_spool_get(ScSpool *spool, ScMessage *message);

#endif							/* SC_SPOOL_H */
