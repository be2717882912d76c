/*-------------------------------------------------------------------------
 *
 * stream.h
 *		The definition of a stream, read from PostgreSQL's catalogs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_STREAM_H
#define SC_STREAM_H

#include "streamcount.h"

/* Is this relation a foreign table of ours? */
extern bool sc_stream_is_stream(Oid relid);
extern bool sc_stream_is_our_wrapper(Oid fdwid);

/*
 * The server that comes with the extension: its brokers are a setting, for
 * its options would be lost in a dump.
 */
extern bool sc_stream_is_own_server(Oid server);

/*
 * Read and check the definition; an ERROR names what is wrong in it.  All of
 * it lives in cx.  With properties, the server's and the user mapping's
 * options (of the table's owner) are read, too.
 */
extern ScStream *sc_stream_load(Oid relid, bool with_properties, MemoryContext cx);

/*
 * What a change of would make a rollup count something else: topic, format,
 * server, and how each of the columns in attnums is read.  The same after a
 * rename, a dump and a restore.  palloc'd text.
 */
extern char *sc_stream_fingerprint(const ScStream *stream, const Bitmapset *attnums);

/* Parse a start option: earliest, latest, a timestamp, or {"0": 17, …}. */
extern ScStart sc_stream_parse_start(const char *text);

#endif							/* SC_STREAM_H */
