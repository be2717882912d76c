/*-------------------------------------------------------------------------
 *
 * token_tag.h
 *		What begins with a sign: hashtags, mentions and cashtags.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TOKEN_TAG_H
#define SC_TOKEN_TAG_H

#include "token.h"

extern bool sc_token_next_hashtag(ScTokens *tokens, ScToken *token);
extern bool sc_token_next_mention(ScTokens *tokens, ScToken *token);
extern bool sc_token_next_cashtag(ScTokens *tokens, ScToken *token);

#endif							/* SC_TOKEN_TAG_H */
