// UTF-8 and small text helpers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// The position of the first byte that is not part of valid UTF-8 (no surrogates, no overlong
/// forms), if any.
std::optional<size_t> find_invalid_utf8(std::string_view text);

/// Decodes the code point at `pos` of valid UTF-8 and moves `pos` behind it.
char32_t next_code_point(std::string_view text, size_t& pos);
void append_utf8(std::string& out, char32_t code_point);

/// Each maximal invalid part becomes one U+FFFD, as Python's errors="replace" does.
std::string replace_invalid_utf8(std::string_view bytes);
/// Length of the longest prefix that does not end inside a code point which more bytes could
/// complete.
size_t complete_utf8_prefix(std::string_view bytes);

/// The candidate nearest to `word` by edit distance, if near enough to be a likely typing error.
std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates);

}  // namespace cria
