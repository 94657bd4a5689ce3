// Checks and derived facts of a vocabulary, whatever file it came from.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace cria {

/// Throws FormatError: the vocabulary's source, then `reason`.
[[noreturn]] void bad_vocabulary(const Vocabulary& vocabulary, std::string reason);

/// Throws FormatError when the tables do not fit together: sizes, ids out of range, empty or
/// repeated pieces, a single byte without a token where ranks are ids, merges that make no token or appear twice.
/// Fills `merged`.
void check_vocabulary(Vocabulary& vocabulary);

/// SHA-256 (hex) over the rank rule, the pre-tokeniser, every piece with its id and whether it is
/// special, and the merges.
std::string fingerprint_of(const Vocabulary& vocabulary);

/// The merge list of a vocabulary whose ranks are ids: every way to make a token from two others,
/// by the token made, then by the parts. Source: transformers, convert_slow_tokenizer.py,
/// `generate_merges`. Of another vocabulary: its own list.
std::vector<std::pair<TokenId, TokenId>> merges_of(const Vocabulary& vocabulary);

/// The id of a special token by its text.
std::optional<TokenId> special_id(const Vocabulary& vocabulary, std::string_view text);
/// Fills end_of_turn with the reply-ending specials that we know and that are not eos:
/// <|eot_id|>, <|eom_id|>, <|im_end|>, <|end_of_text|>, and `more`.
void set_end_of_turn(Vocabulary& vocabulary, const std::vector<TokenId>& more = {});

}  // namespace cria
