// Cuts text into the pieces inside which byte pairs are merged. The published rules are regular
// expressions; here they are written by hand over code points: exact, linear, and nothing from a
// file is ever compiled.
#pragma once

#include <cstddef>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace cria {

/// The end of the piece that begins at `pos` < text.size(), always behind `pos`. `text` is valid
/// UTF-8 and `pos` stands on a piece's beginning. Which piece comes next depends on the text from
/// `pos` on only.
///
///   llama3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
///           ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
///   gpt2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
///   smollm  each \p{N} alone, then gpt2 on what lies between
size_t piece_end(PreTokenizer kind, std::string_view text, size_t pos);

/// The patterns as written in tokenizer.json, for comparison as text.
extern const std::string_view kLlama3Pattern;

}  // namespace cria
