// Unicode normalisation form C.
#pragma once

#include <string>
#include <string_view>

namespace cria {

/// `text` is valid UTF-8. O(n log n), whatever the order of its combining marks.
std::string nfc(std::string_view text);

}  // namespace cria
