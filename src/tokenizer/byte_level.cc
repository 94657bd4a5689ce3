#include "tokenizer/byte_level.h"

#include <array>

#include "base/text.h"

namespace cria {
namespace {

constexpr size_t kCodePoints = 0x100 + 68;  // 68 bytes are not printable

struct Maps {
  std::array<char16_t, 256> of_byte{};
  std::array<int16_t, kCodePoints> byte_of{};
};

constexpr Maps make_maps() {
  Maps maps;
  for (int16_t& byte : maps.byte_of) byte = -1;
  char16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const auto code = printable ? static_cast<char16_t>(byte) : next++;
    maps.of_byte[static_cast<size_t>(byte)] = code;
    maps.byte_of[code] = static_cast<int16_t>(byte);
  }
  return maps;
}

constexpr Maps kMaps = make_maps();

}  // namespace

std::string to_byte_level(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(out, kMaps.of_byte[static_cast<unsigned char>(c)]);
  return out;
}

bool from_byte_level(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    char32_t code = static_cast<unsigned char>(text[i]);
    if (code >= 0x80) {  // all our code points have at most two bytes
      if (code < 0xc2 || code > 0xdf || ++i == text.size()) return false;
      const auto low = static_cast<unsigned char>(text[i]);
      if ((low & 0xc0) != 0x80) return false;
      code = (code & 0x1f) << 6 | (low & 0x3f);
    }
    const int16_t byte = code < kCodePoints ? kMaps.byte_of[code] : int16_t{-1};
    if (byte < 0) return false;
    out += static_cast<char>(byte);
  }
  return true;
}

}  // namespace cria
