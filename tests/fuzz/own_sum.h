// Texts that carry a sum of themselves (base/file_sums.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file_sums.h"

namespace cria {

/// What parses is the same when it is written and read again.
template <class Parse, class Write>
void round_trip(std::string_view text, const Parse& parse, const Write& write) {
  try {
    const std::string written = write(parse(text, "fuzz.json"));
    check(write(parse(written, "again.json")) == written, "written and read is the same");
  } catch (const FormatError&) {
  }
}

/// Any bytes as such a text, and as the body of one whose sum is right: hardly an input would get past the sum.
template <class Parse, class Write>
int fuzz_text_with_sum(const uint8_t* data, size_t size, const Parse& parse, const Write& write) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  round_trip(text, parse, write);
  round_trip(with_own_sum(text), parse, write);
  return 0;
}

}  // namespace cria
