/*-------------------------------------------------------------------------
 *
 * decode_index_simdjson.cpp
 *		Where the tokens of a JSON payload begin, by simdjson's first stage.
 *
 * Only that stage: what simdjson's parser takes for JSON is not quite what
 * jsonb does.  It does not read past the payload's end.
 *
 * Guarantee: no C++ exception, and nothing of PostgreSQL, crosses this file.
 * Owns: the one parser of the process, for as long as that lives; it grows
 * to some 4 MB at the most.
 *
 *-------------------------------------------------------------------------
 */
#include <memory>

#include <simdjson.h>

#include "decode_index.h"

static const size_t first_capacity = 16 * 1024;

static simdjson::internal::dom_parser_implementation *parser;

/* Make room for a payload; the parser's own depth is of its other stage. */
static bool
ensure_capacity(size_t len) noexcept
{
	size_t		capacity = first_capacity;

	if (parser != nullptr && parser->capacity() >= len)
		return true;
	while (capacity < len)
		capacity *= 2;

	if (parser == nullptr)
	{
		std::unique_ptr<simdjson::internal::dom_parser_implementation> made;

		if (simdjson::get_active_implementation()->create_dom_parser_implementation(capacity, 1, made) != simdjson::SUCCESS)
			return false;
		parser = made.release();
		return true;
	}
	return parser->set_capacity(capacity) == simdjson::SUCCESS;
}

extern "C" const uint32_t *
sc_decode_index(const char *payload, size_t len, size_t *ntokens)
{
	if (len == 0 || len > SC_DECODE_INDEX_MAX || !ensure_capacity(len))
		return nullptr;
	if (parser->stage1(reinterpret_cast<const uint8_t *>(payload), len,
					   simdjson::stage1_mode::regular) != simdjson::SUCCESS)
		return nullptr;
	*ntokens = parser->n_structural_indexes;
	return parser->structural_indexes.get();
}
