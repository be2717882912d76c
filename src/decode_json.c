/*-------------------------------------------------------------------------
 *
 * decode_json.c
 *		The wanted members of a JSON payload, as slices of it.
 *
 * The payload's tokens are walked in their order, and the whole document is
 * held against JSON's grammar (RFC 8259), as jsonb would.  The names that
 * lead to wanted values form a tree, which the walk follows as it goes.
 * As in jsonb, the last one of equal members counts, and it voids what the
 * former had within.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/string.h"
#include "decode_escape.h"
#include "decode_index.h"
#include "decode_json.h"
#include "decode_number.h"
#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

/* Deeper documents are left to the parser, whose stack may not be enough. */
#define MAX_DEPTH		100

/* A byte of a name is escaped by six at the most. */
#define MAX_ESCAPE_LEN	6

/* So many tokens are there at least, with the one that ends the container. */
#define MEMBER_TOKENS	4
#define ELEMENT_TOKENS	2

typedef struct Member
{
	ScJsonValue value;
	const char *name;
	size_t		name_len;
	bool		reads_arrays;	/* a name below it may be an array's index */
	uint64		first_bytes;	/* of the children's names, as name_bit() */
	struct Member *children;
	struct Member *sibling;
	struct Member *next;		/* of all members there are */
} Member;

struct ScJsonPaths
{
	MemoryContext cx;
	Member	   *root;			/* and the last one of all members */
	size_t		max_name_len;
	char	   *name;			/* an unescaped name */
};

typedef struct Walk
{
	const char *payload;
	const char *end;
	const uint32_t *last_token; /* behind the last one */
	bool		escapes;		/* are there any in the payload? */
	ScJsonPaths *paths;
} Walk;

static pg_noinline const uint32_t *walk_container(const Walk *walk, const uint32_t *token,
									  Member *member, int depth);

ScJsonPaths *
sc_decode_json_create(MemoryContext cx)
{
	ScJsonPaths *paths = MemoryContextAllocZero(cx, sizeof(ScJsonPaths));

	paths->cx = cx;
	paths->root = MemoryContextAllocZero(cx, sizeof(Member));
	return paths;
}

/*
 * A bit for the first byte of a name as it stands in a payload; several bytes
 * share one.  Behind an empty name that byte is its quote.
 */
static inline uint64
name_bit(char first_byte)
{
	return UINT64CONST(1) << ((unsigned char) first_byte & 63);
}

static Member *
add_member(ScJsonPaths *paths, Member *parent, const char *name)
{
	Member	   *member = MemoryContextAllocZero(paths->cx, sizeof(Member));
	char	   *end;

	member->name = MemoryContextStrdup(paths->cx, name);
	member->name_len = strlen(name);
	member->sibling = parent->children;
	parent->children = member;
	parent->first_bytes |= name_bit('\\') | name_bit(*name ? *name : '"');
	member->next = paths->root->next;
	paths->root->next = member;

	/* as the path operators of jsonb read it */
	errno = 0;
	(void) strtoint(name, &end, 10);
	if (end != name && *end == '\0' && errno == 0)
		parent->reads_arrays = true;

	if (member->name_len > paths->max_name_len || paths->name == NULL)
	{
		paths->max_name_len = Max(member->name_len, paths->max_name_len);
		paths->name = MemoryContextAllocHuge(paths->cx,
											 paths->max_name_len * MAX_ESCAPE_LEN + 1);
	}
	return member;
}

const ScJsonValue *
sc_decode_json_want(ScJsonPaths *paths, int npath, char *const *path)
{
	Member	   *member = paths->root;

	for (int i = 0; i < npath; i++)
	{
		Member	   *child = member->children;

		while (child != NULL && strcmp(child->name, path[i]) != 0)
			child = child->sibling;
		member = child ? child : add_member(paths, member, path[i]);
	}
	return &member->value;
}

/* The byte that a token begins with; behind the last one, none of JSON's */
static inline char
first_byte(const Walk *walk, const uint32_t *token)
{
	return token < walk->last_token ? walk->payload[*token] : '\0';
}

/* The end of the string that begins with this token: where its quote is */
static inline const char *
string_end(const Walk *walk, const uint32_t *token)
{
	const char *p = token + 1 < walk->last_token ? walk->payload + token[1] : walk->end;

	/* only blanks are between a string and the next token */
	do
		p--;
	while (*p != '"');
	return p;
}

/* What a scalar may end before */
static const bool scalar_ends[256] = {
	[','] = true,['}'] = true,[']'] = true,
	[' '] = true,['\t'] = true,['\n'] = true,['\r'] = true,
};

/* With how many digits do eight bytes begin?  Says 7 for 8. */
static inline int
count_digits(const char *p)
{
	const uint64 highs = UINT64CONST(0x8080808080808080);
	uint64		word;
	uint64		others;

	memcpy(&word, p, sizeof(word));
#ifdef WORDS_BIGENDIAN
	word = pg_bswap64(word);
#endif
	/* a byte that is no digit sets its high bit, and no byte carries */
	word ^= UINT64CONST(0x3030303030303030);
	others = (((word & ~highs) + UINT64CONST(0x7676767676767676)) | word) & highs;
	return pg_rightmost_one_pos64(others | UINT64CONST(1) << 63) / 8;
}

/* The end of a number that begins here, or NULL */
static inline const char *
number_end(const Walk *walk, const char *p)
{
	/* most are short and have nothing but digits */
	if (walk->end - p > 8)
	{
		int			ndigits = count_digits(p);
		bool		is_integer = (ndigits == 1) | ((ndigits > 1) & (*p != '0'));

		if (is_integer && scalar_ends[(unsigned char) p[ndigits]])
			return p + ndigits;
	}
	return sc_decode_number_end(p, walk->end);
}

/* The end of a word that begins here, or NULL */
static inline const char *
word_end(const Walk *walk, const char *p, const char *word, size_t len)
{
	return ((size_t) (walk->end - p) >= len && memcmp(p, word, len) == 0) ? p + len : NULL;
}

static inline void
note_value(Member *member, ScJsonKind kind, const char *start, const char *end)
{
	member->value.kind = kind;
	member->value.start = start;
	member->value.len = end - start;
}

/*
 * The walkers are given the first token of what they read, and return the
 * one behind it, or NULL where it is not surely JSON.  member: where the
 * value is wanted, or NULL.
 */
static const uint32_t *
walk_scalar(const Walk *walk, const uint32_t *token, Member *member)
{
	const char *start = walk->payload + *token;
	const char *end;
	ScJsonKind	kind;

	switch (*start)
	{
		case 't':
			kind = SC_JSON_TRUE;
			end = word_end(walk, start, "true", 4);
			break;
		case 'f':
			kind = SC_JSON_FALSE;
			end = word_end(walk, start, "false", 5);
			break;
		case 'n':
			kind = SC_JSON_NULL;
			end = word_end(walk, start, "null", 4);
			break;
		default:
			kind = SC_JSON_NUMBER;
			end = number_end(walk, start);
	}
	if (end == NULL || !(end == walk->end || scalar_ends[(unsigned char) *end]))
		return NULL;

	if (member != NULL)
		note_value(member, kind, start, end);
	return token + 1;
}

static inline void
note_string(const Walk *walk, const uint32_t *token, Member *member)
{
	ScJsonValue *value = &member->value;

	note_value(member, SC_JSON_STRING, walk->payload + *token + 1, string_end(walk, token));
	value->escaped = walk->escapes && memchr(value->start, '\\', value->len) != NULL;
}

/* The wanted member that has the name at this token, or NULL */
static Member *
find_child(const Walk *walk, const uint32_t *token, const Member *parent)
{
	const char *name = walk->payload + *token + 1;
	size_t		len;

	/* most names are told by that, which is cheap */
	if ((parent->first_bytes & name_bit(*name)) == 0)
		return NULL;

	len = string_end(walk, token) - name;
	if (walk->escapes && memchr(name, '\\', len) != NULL)
	{
		if (len > walk->paths->max_name_len * MAX_ESCAPE_LEN)
			return NULL;
		len = sc_decode_unescape(name, len, walk->paths->name);
		name = walk->paths->name;
	}
	for (Member *child = parent->children; child != NULL; child = child->sibling)
	{
		if (child->name_len == len && memcmp(child->name, name, len) == 0)
			return child;
	}
	return NULL;
}

/* Forget what an earlier member of the same name had */
static void
void_member(Member *member)
{
	if (member->value.kind == SC_JSON_MISSING)
		return;
	member->value.kind = SC_JSON_MISSING;
	for (Member *child = member->children; child != NULL; child = child->sibling)
		void_member(child);
}

static pg_attribute_always_inline const uint32_t *
walk_value(const Walk *walk, const uint32_t *token, Member *member, int depth)
{
	switch (walk->payload[*token])
	{
		case '"':
			if (member != NULL)
				note_string(walk, token, member);
			return token + 1;
		case '{':
		case '[':
			return walk_container(walk, token, member, depth);
		default:
			return walk_scalar(walk, token, member);
	}
}

static const uint32_t *
walk_object(const Walk *walk, const uint32_t *token, Member *object, int depth)
{
	const char *payload = walk->payload;
	bool		wanted = (object != NULL && object->children != NULL);

	if (first_byte(walk, ++token) == '}')
		return token + 1;
	for (;;)
	{
		Member	   *member;
		char		separator;

		if (walk->last_token - token < MEMBER_TOKENS ||
			payload[token[0]] != '"' || payload[token[1]] != ':')
			return NULL;
		member = wanted ? find_child(walk, token, object) : NULL;
		if (member != NULL)
			void_member(member);

		token = walk_value(walk, token + 2, member, depth + 1);
		if (token == NULL || token == walk->last_token)
			return NULL;
		separator = payload[*token++];
		if (separator != ',')
			return separator == '}' ? token : NULL;
	}
}

static const uint32_t *
walk_array(const Walk *walk, const uint32_t *token, int depth)
{
	if (first_byte(walk, ++token) == ']')
		return token + 1;
	for (;;)
	{
		char		separator;

		if (walk->last_token - token < ELEMENT_TOKENS)
			return NULL;
		token = walk_value(walk, token, NULL, depth + 1);
		if (token == NULL || token == walk->last_token)
			return NULL;
		separator = walk->payload[*token++];
		if (separator != ',')
			return separator == ']' ? token : NULL;
	}
}

static pg_noinline const uint32_t *
walk_container(const Walk *walk, const uint32_t *token, Member *member, int depth)
{
	bool		is_object = (walk->payload[*token] == '{');
	const uint32_t *behind;

	if (depth >= MAX_DEPTH || (!is_object && member != NULL && member->reads_arrays))
		return NULL;
	behind = is_object ? walk_object(walk, token, member, depth) : walk_array(walk, token, depth);
	if (behind != NULL && member != NULL)
		note_value(member, is_object ? SC_JSON_OBJECT : SC_JSON_ARRAY,
				   walk->payload + *token, walk->payload + behind[-1] + 1);
	return behind;
}

bool
sc_decode_json_walk(ScJsonPaths *paths, const char *payload, size_t len)
{
	const uint32_t *token;
	size_t		ntokens;
	Walk		walk;

	token = sc_decode_index(payload, len, &ntokens);
	if (token == NULL)
		return false;
	walk.last_token = token + ntokens;
	walk.payload = payload;
	walk.end = payload + len;
	walk.paths = paths;
	if (!sc_decode_escapes_valid(payload, len, &walk.escapes))
		return false;

	for (Member *member = paths->root; member != NULL; member = member->next)
		member->value.kind = SC_JSON_MISSING;

	/* a path may lead into an array, or find that there is nothing to lead into */
	if (paths->root->children != NULL && first_byte(&walk, token) != '{')
		return false;
	return walk_value(&walk, token, paths->root, 0) == walk.last_token;
}
