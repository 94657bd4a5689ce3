// The three classes of code points that pre-tokenisers know. The tables are generated
// (tools/make_unicode_tables.py) from the engine whose cuts we reproduce.
#pragma once

#include <cstdint>

namespace cria {

/// \p{L}, \p{N}, \s, and everything else.
enum class CharClass : uint8_t { other, letter, number, space };

namespace unicode {
extern const uint8_t kBlockOf[];  // block number of each 256 code points
extern const uint8_t kClasses[];  // four code points a byte, lowest bits first
}  // namespace unicode

/// `c` is at most U+10FFFF.
inline CharClass class_of(char32_t c) {
  const uint32_t at = unicode::kBlockOf[c >> 8] * 256U + (c & 0xff);
  return static_cast<CharClass>(unicode::kClasses[at >> 2] >> ((at & 3) * 2) & 3);
}

}  // namespace cria
