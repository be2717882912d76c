/*-------------------------------------------------------------------------
 *
 * streamcount.h
 *		The vocabulary that all rooms share.
 *
 * A stream is a foreign table over a Kafka topic.  A rollup is a GROUP BY
 * query over a stream that is kept up to date.  A message is one Kafka
 * record.  A reject is the reason why a message cannot be counted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STREAMCOUNT_H
#define STREAMCOUNT_H

#include "postgres.h"

#include "access/attnum.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "pgtime.h"

#define SC_SCHEMA "streamcount"

/* A message whose keys are longer than this in all is rejected: btree's own
 * limit, about 2,700 bytes after compression, would fail the whole flush. */
#define SC_MAX_KEY_BYTES 2000

typedef struct ScHeader
{
	const char *name;			/* NUL-terminated, any bytes */
	const char *value;			/* NULL: a header without value */
	size_t		value_len;
} ScHeader;

/*
 * One Kafka record.  All pointers are borrowed from the source until
 * sc_source_release(), or belong to the batch that copied them.  Bytes are
 * just bytes: not terminated, of any encoding.
 */
typedef struct ScMessage
{
	int32		partition;
	int64		offset;
	int64		timestamp_ms;	/* since 1970 in UTC; -1: none */
	const char *payload;		/* NULL: a tombstone */
	size_t		payload_len;
	const char *key;			/* NULL: no key */
	size_t		key_len;
	const ScHeader *headers;	/* only where the stream has such a column */
	int			nheaders;
} ScMessage;

/* Why one message, or one column of it, cannot be read or counted. */
typedef struct ScReject
{
	struct ScReject *next;		/* next bad column of the same message */
	AttrNumber	attnum;			/* 0: the payload as a whole */
	int			sqlerrcode;		/* as in ERRCODE_* */
	const char *reason;			/* primary message */
	const char *detail;			/* may be NULL */
} ScReject;

typedef enum ScFormat
{
	SC_FORMAT_JSON,
	SC_FORMAT_TEXT
} ScFormat;

typedef enum ScStartKind
{
	SC_START_EARLIEST,
	SC_START_LATEST,
	SC_START_TIMESTAMP,
	SC_START_OFFSETS
} ScStartKind;

/* Where a rollup, or a SELECT, begins to read. */
typedef struct ScStart
{
	ScStartKind kind;
	int64		timestamp_ms;	/* SC_START_TIMESTAMP */
	int			noffsets;		/* SC_START_OFFSETS; others begin at earliest */
	int32	   *partitions;
	int64	   *offsets;
} ScStart;

typedef enum ScColumnKind
{
	SC_COLUMN_MEMBER,			/* a member of the JSON payload */
	SC_COLUMN_PAYLOAD,			/* the whole payload, format text */
	SC_COLUMN_METADATA
} ScColumnKind;

typedef enum ScMetadata
{
	SC_META_TOPIC,
	SC_META_PARTITION,
	SC_META_OFFSET,
	SC_META_TIMESTAMP,
	SC_META_KEY,
	SC_META_HEADERS,
	SC_META_VALUE
} ScMetadata;

typedef enum ScTimeFormat
{
	SC_TIME_ISO8601,
	SC_TIME_EPOCH_S,
	SC_TIME_EPOCH_MS,
	SC_TIME_TWITTER
} ScTimeFormat;

typedef struct ScColumn
{
	AttrNumber	attnum;
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	ScColumnKind kind;
	ScMetadata	metadata;		/* SC_COLUMN_METADATA */
	int			npath;			/* SC_COLUMN_MEMBER; 0: the whole document */
	char	  **path;
	ScTimeFormat time_format;
	pg_tz	   *time_zone;		/* for times without an offset */
	bool		not_null;
	bool		null_on_error;	/* on_error 'null' */
	Node	   *default_expr;	/* for a missing member; NULL: none */
} ScColumn;

/* One librdkafka property, from the server or from the user mapping. */
typedef struct ScProperty
{
	const char *name;
	const char *value;
} ScProperty;

typedef struct ScStream
{
	Oid			relid;
	Oid			server;
	Oid			owner;			/* whose user mapping the fetch uses */
	char	   *name;			/* schema-qualified and quoted, for messages */
	char	   *topic;
	ScFormat	format;
	ScStart		start;
	bool		halt_on_error;	/* on_error 'halt' */
	int			reject_limit;	/* 0: none */
	bool		skip_gaps;		/* on_gap 'skip' */
	int			natts;			/* of the relation, dropped ones too */
	int			ncolumns;
	ScColumn   *columns;
	int			nproperties;	/* secrets among them: never print values */
	ScProperty *properties;
} ScStream;

#endif							/* STREAMCOUNT_H */
