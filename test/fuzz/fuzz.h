/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *		What a fuzz target is, and what it has at hand.
 *
 * A target reads bytes into a room of src/ and holds what comes of it
 * against what PostgreSQL itself makes of them, or against what the room
 * promises.  It runs inside the server program, see host.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "compat.h"

typedef struct FuzzTarget
{
	const char *name;
	void		(*start) (void);	/* once; may be NULL */
	void		(*one) (const char *data, size_t len);
} FuzzTarget;

extern const FuzzTarget fuzz_decode_json;
extern const FuzzTarget fuzz_decode_text;
extern const FuzzTarget fuzz_option;
extern const FuzzTarget fuzz_token;
extern const FuzzTarget fuzz_window;

/* The input's bytes one after the other; zero behind the last. */
typedef struct FuzzBytes
{
	const char *p;
	const char *end;
} FuzzBytes;

extern uint64 fuzz_take(FuzzBytes *bytes, int n);
extern char *fuzz_take_string(FuzzBytes *bytes);

/* Say what is wrong, and stop: libFuzzer keeps the input. */
pg_noreturn extern void fuzz_fail(const char *format,...) pg_attribute_printf(1, 2);

/*
 * Call a function that may raise an ERROR: its SQLSTATE, or 0.  Only what a
 * user's own value can cause is one, all else fails.
 */
extern int	fuzz_guard(void (*function) (void *), void *arg);

/* Memory of malloc(), which a context frees: sanitizers see its bounds. */
extern void *fuzz_alloc(MemoryContext cx, size_t len);

#endif							/* FUZZ_H */
