/*-------------------------------------------------------------------------
 *
 * spool.c
 *		Messages in a temporary file, to be read again in their order.
 *
 * Messages are fetched before locks are taken and used after that, and there
 * may be more of them than memory.  The file has each as it is in memory,
 * with the bytes that it points to behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/buffile.h"
#include "utils/memutils.h"

#include "spool.h"

struct ScSpool
{
	BufFile    *file;
	int64		nput;
	int64		nleft;			/* to be read */
	bool		peeked;
	ScMessage	next;			/* if peeked: its fixed part is read */
};

ScSpool *
sc_spool_create(void)
{
	ScSpool    *spool = palloc0(sizeof(ScSpool));

	spool->file = BufFileCreateTemp(false);
	return spool;
}

void
sc_spool_close(ScSpool *spool)
{
	BufFileClose(spool->file);
	pfree(spool);
}

static void
put_bytes(ScSpool *spool, const void *bytes, size_t len)
{
	BufFileWrite(spool->file, unconstify(void *, bytes), len);
}

void
sc_spool_put(ScSpool *spool, const ScMessage *message)
{
	put_bytes(spool, message, sizeof(ScMessage));
	put_bytes(spool, message->payload, message->payload_len);
	put_bytes(spool, message->key, message->key_len);
	for (int i = 0; i < message->nheaders; i++)
	{
		const ScHeader *header = &message->headers[i];
		size_t		name_len = strlen(header->name);

		put_bytes(spool, header, sizeof(ScHeader));
		put_bytes(spool, &name_len, sizeof(name_len));
		put_bytes(spool, header->name, name_len);
		put_bytes(spool, header->value, header->value ? header->value_len : 0);
	}
	spool->nput++;
}

void
sc_spool_rewind(ScSpool *spool)
{
	if (BufFileSeek(spool->file, 0, 0, SEEK_SET) != 0)
		elog(ERROR, "could not rewind a temporary file");
	spool->nleft = spool->nput;
}

static void
get_fixed(ScSpool *spool, void *to, size_t len)
{
	if (BufFileRead(spool->file, to, len) != len)
		elog(ERROR, "could not read a temporary file");
}

/* Bytes of their own, terminated; was: the pointer that they were written from. */
static const char *
get_bytes(ScSpool *spool, const void *was, size_t len)
{
	char	   *bytes;

	if (was == NULL)
		return NULL;
	bytes = MemoryContextAllocHuge(CurrentMemoryContext, len + 1);
	get_fixed(spool, bytes, len);
	bytes[len] = '\0';
	return bytes;
}

const ScMessage *
sc_spool_peek(ScSpool *spool)
{
	if (spool->nleft == 0)
		return NULL;
	if (!spool->peeked)
		get_fixed(spool, &spool->next, sizeof(ScMessage));
	spool->peeked = true;
	return &spool->next;
}

void
sc_spool_get(ScSpool *spool, ScMessage *message)
{
	ScHeader   *headers;

	*message = *sc_spool_peek(spool);
	spool->peeked = false;
	spool->nleft--;
	message->payload = get_bytes(spool, message->payload, message->payload_len);
	message->key = get_bytes(spool, message->key, message->key_len);
	headers = palloc(sizeof(ScHeader) * Max(message->nheaders, 1));
	for (int i = 0; i < message->nheaders; i++)
	{
		size_t		name_len;

		get_fixed(spool, &headers[i], sizeof(ScHeader));
		get_fixed(spool, &name_len, sizeof(name_len));
		headers[i].name = get_bytes(spool, headers[i].name, name_len);
		headers[i].value = get_bytes(spool, headers[i].value, headers[i].value_len);
	}
	message->headers = headers;
}
