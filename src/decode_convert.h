/*-------------------------------------------------------------------------
 *
 * decode_convert.h
 *		A member's slice of the payload to a value of its column's type, as
 *		far as that is sure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_DECODE_CONVERT_H
#define SC_DECODE_CONVERT_H

#include "compat.h"
#include "decode_json.h"
#include "decode_quick.h"
#include "moment_quick.h"

/* A column's conversion.  Its buffer only grows, and serves each message. */
typedef struct ScConvert
{
	const ScColumn *column;
	bool		as_datum;		/* wanted as a Datum even if it is text */
	ScTimeForm	time;
	MemoryContext home;
	char	   *buffer;			/* a varlena's header, then bytes */
	size_t		buffer_len;
} ScConvert;

extern bool sc_decode_convert_can(Oid type);

/* May a conversion to this type raise an ERROR, and leave things lying about? */
extern bool sc_decode_convert_throws(Oid type);

extern void sc_decode_convert_create(ScConvert *convert, const ScColumn *column,
									 bool as_datum, MemoryContext home);

/* False is a doubt.  Of a missing member, or of null but for jsonb: NULL */
extern bool sc_decode_convert(ScConvert *convert, const ScJsonValue *json,
							  ScQuickValue *value);

/* Bytes as a value of type text, in the column's buffer where a Datum is wanted */
extern void sc_decode_convert_bytes(ScConvert *convert, const char *bytes, size_t len,
									ScQuickValue *value);

#endif							/* SC_DECODE_CONVERT_H */
