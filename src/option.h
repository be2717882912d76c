/*-------------------------------------------------------------------------
 *
 * option.h
 *		The options of streams, and what their values mean.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_OPTION_H
#define SC_OPTION_H

#include "streamcount.h"
#include "nodes/parsenodes.h"

#define SC_DEFAULT_REJECT_LIMIT 1000

/* The one property that every server needs. */
#define SC_OPTION_BROKERS "bootstrap.servers"

/*
 * ERROR unless these are good options of an object of that catalog; the hint
 * lists the good ones.  Sees neither the object's name nor its columns.
 */
extern void sc_option_check(List *options, Oid catalog);

/* What the options of a table say; the rest of the stream is left alone. */
extern void sc_option_read_table(List *options, ScStream *stream);

/*
 * What the options of a column say: kind, metadata, path, times and
 * null_on_error.  The name must be set.
 */
extern void sc_option_read_column(List *options, ScFormat format, ScColumn *column);

/* earliest, latest, a timestamp, or {"0": 17, ...} */
extern ScStart sc_option_parse_start(const char *text);

/* The value of an option, or NULL where it is not given. */
extern const char *sc_option_value(List *options, const char *name);

/* As the option is written; for messages and fingerprints. */
extern const char *sc_option_format_name(ScFormat format);
extern const char *sc_option_metadata_name(ScMetadata metadata);
extern const char *sc_option_time_format_name(ScTimeFormat format);

#endif							/* SC_OPTION_H */
