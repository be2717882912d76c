/*-------------------------------------------------------------------------
 *
 * memory.c
 *		palloc() and its kin for the rooms, by malloc().
 *
 * A sanitizer does not see the bounds of what palloc() cuts out of a larger
 * block.  The rooms' calls are led here by the linker (--wrap); PostgreSQL's
 * own are not.  What is given here belongs to a memory context all the same,
 * and goes with it.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "utils/memutils.h"

#define NBUCKETS 4096

/* One piece of memory; of all of a context, and of all in a bucket */
typedef struct Piece
{
	struct Piece *next_of_owner;
	struct Piece *next_in_bucket;
	void	   *memory;
	size_t		len;
	struct Owner *owner;
} Piece;

/* A context that pieces belong to; lives in it, and goes when it is reset */
typedef struct Owner
{
	struct Owner *next;
	MemoryContext cx;
	Piece	   *pieces;
	MemoryContextCallback callback;
} Owner;

static Piece *buckets[NBUCKETS];
static Owner *owners;

extern void *__wrap_palloc(Size size);
extern void *__wrap_palloc0(Size size);
extern void *__wrap_repalloc(void *pointer, Size size);
extern void __wrap_pfree(void *pointer);
extern char *__wrap_pstrdup(const char *in);
extern char *__wrap_pnstrdup(const char *in, Size len);
extern void *__wrap_MemoryContextAlloc(MemoryContext cx, Size size);
extern void *__wrap_MemoryContextAllocZero(MemoryContext cx, Size size);
extern void *__wrap_MemoryContextAllocHuge(MemoryContext cx, Size size);
extern char *__wrap_MemoryContextStrdup(MemoryContext cx, const char *string);
extern void *__real_MemoryContextAllocZero(MemoryContext cx, Size size);
extern void *__real_repalloc(void *pointer, Size size);
extern void __real_pfree(void *pointer);

static Piece **
find_piece(const void *memory)
{
	Piece	  **piece = &buckets[((uintptr_t) memory >> 4) % NBUCKETS];

	while (*piece != NULL && (*piece)->memory != memory)
		piece = &(*piece)->next_in_bucket;
	return piece;
}

static void
forget_piece(Piece *piece)
{
	Piece	  **link = find_piece(piece->memory);

	*link = piece->next_in_bucket;
	free(piece->memory);
	free(piece);
}

static void
forget_owner(void *arg)
{
	Owner	   *owner = arg;
	Owner	  **link = &owners;

	while (owner->pieces != NULL)
	{
		Piece	   *piece = owner->pieces;

		owner->pieces = piece->next_of_owner;
		forget_piece(piece);
	}
	while (*link != owner)
		link = &(*link)->next;
	*link = owner->next;
}

static Owner *
owner_of(MemoryContext cx)
{
	Owner	   *owner = owners;

	while (owner != NULL && owner->cx != cx)
		owner = owner->next;
	if (owner != NULL)
		return owner;

	owner = __real_MemoryContextAllocZero(cx, sizeof(Owner));
	owner->cx = cx;
	owner->next = owners;
	owners = owner;
	owner->callback.func = forget_owner;
	owner->callback.arg = owner;
	MemoryContextRegisterResetCallback(cx, &owner->callback);
	return owner;
}

void *
fuzz_alloc(MemoryContext cx, size_t len)
{
	Piece	   *piece = malloc(sizeof(Piece));
	Owner	   *owner = owner_of(cx);
	Piece	  **bucket;

	piece->memory = malloc(len);
	if (piece->memory == NULL)
		fuzz_fail("out of memory for %zu bytes", len);
	piece->len = len;
	piece->owner = owner;
	piece->next_of_owner = owner->pieces;
	owner->pieces = piece;
	bucket = &buckets[((uintptr_t) piece->memory >> 4) % NBUCKETS];
	piece->next_in_bucket = *bucket;
	*bucket = piece;
	return piece->memory;
}

static void *
checked_alloc(MemoryContext cx, Size size)
{
	if (!AllocSizeIsValid(size))
		elog(ERROR, "invalid memory alloc request size %zu", size);
	return fuzz_alloc(cx, size);
}

void *
__wrap_MemoryContextAlloc(MemoryContext cx, Size size)
{
	return checked_alloc(cx, size);
}

void *
__wrap_MemoryContextAllocZero(MemoryContext cx, Size size)
{
	return memset(checked_alloc(cx, size), 0, size);
}

void *
__wrap_MemoryContextAllocHuge(MemoryContext cx, Size size)
{
	return fuzz_alloc(cx, size);
}

char *
__wrap_MemoryContextStrdup(MemoryContext cx, const char *string)
{
	size_t		len = strlen(string) + 1;

	return memcpy(fuzz_alloc(cx, len), string, len);
}

void *
__wrap_palloc(Size size)
{
	return checked_alloc(CurrentMemoryContext, size);
}

void *
__wrap_palloc0(Size size)
{
	return memset(checked_alloc(CurrentMemoryContext, size), 0, size);
}

char *
__wrap_pstrdup(const char *in)
{
	return __wrap_MemoryContextStrdup(CurrentMemoryContext, in);
}

char *
__wrap_pnstrdup(const char *in, Size len)
{
	char	   *out;

	len = strnlen(in, len);
	out = memcpy(fuzz_alloc(CurrentMemoryContext, len + 1), in, len);
	out[len] = '\0';
	return out;
}

void
__wrap_pfree(void *pointer)
{
	Piece	   *piece = *find_piece(pointer);
	Piece	  **link;

	if (piece == NULL)
	{
		__real_pfree(pointer);
		return;
	}
	for (link = &piece->owner->pieces; *link != piece;)
		link = &(*link)->next_of_owner;
	*link = piece->next_of_owner;
	forget_piece(piece);
}

void *
__wrap_repalloc(void *pointer, Size size)
{
	Piece	   *piece = *find_piece(pointer);
	void	   *grown;

	if (piece == NULL)
		return __real_repalloc(pointer, size);
	grown = checked_alloc(piece->owner->cx, size);
	memcpy(grown, pointer, Min(size, piece->len));
	__wrap_pfree(pointer);
	return grown;
}
