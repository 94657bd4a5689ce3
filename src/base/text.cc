#include "base/text.h"

#include <algorithm>

namespace cria {
namespace {

// The length of the sequence at `pos`: valid, or cut (a proper prefix of a valid one at the end),
// or bad.
struct Sequence {
  size_t length;  // bytes of the valid sequence or of the maximal invalid part
  bool valid;
  bool cut;  // ran into the end of the text while still possible
};

Sequence sequence_at(std::string_view s, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char b = byte(pos);
  if (b < 0x80) return {1, true, false};
  size_t need = 0;
  unsigned char low = 0x80, high = 0xbf;  // range of the second byte
  if (b >= 0xc2 && b <= 0xdf) {
    need = 2;
  } else if (b >= 0xe0 && b <= 0xef) {
    need = 3;
    if (b == 0xe0) low = 0xa0;
    if (b == 0xed) high = 0x9f;
  } else if (b >= 0xf0 && b <= 0xf4) {
    need = 4;
    if (b == 0xf0) low = 0x90;
    if (b == 0xf4) high = 0x8f;
  } else {
    return {1, false, false};
  }
  for (size_t i = 1; i < need; ++i) {
    if (pos + i >= s.size()) return {i, false, true};
    const unsigned char c = byte(pos + i);
    if (c < low || c > high) return {i, false, false};
    low = 0x80;
    high = 0xbf;
  }
  return {need, true, false};
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    if (static_cast<unsigned char>(text[pos]) < 0x80) {
      ++pos;
      continue;
    }
    const Sequence s = sequence_at(text, pos);
    if (!s.valid) return pos;
    pos += s.length;
  }
  return std::nullopt;
}

char32_t next_code_point(std::string_view text, size_t& pos) {
  const auto byte = [&](size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[i]));
  };
  const char32_t b = byte(pos);
  if (b < 0x80) {
    pos += 1;
    return b;
  }
  if (b < 0xe0) {
    const char32_t c = (b & 0x1f) << 6 | (byte(pos + 1) & 0x3f);
    pos += 2;
    return c;
  }
  if (b < 0xf0) {
    const char32_t c = (b & 0x0f) << 12 | (byte(pos + 1) & 0x3f) << 6 | (byte(pos + 2) & 0x3f);
    pos += 3;
    return c;
  }
  const char32_t c = (b & 0x07) << 18 | (byte(pos + 1) & 0x3f) << 12 | (byte(pos + 2) & 0x3f) << 6 |
                     (byte(pos + 3) & 0x3f);
  pos += 4;
  return c;
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  size_t pos = 0;
  while (pos < bytes.size()) {
    const Sequence s = sequence_at(bytes, pos);
    if (s.valid) {
      out.append(bytes.substr(pos, s.length));
    } else {
      out += "\xef\xbf\xbd";
    }
    pos += s.length;
  }
  return out;
}

size_t complete_utf8_prefix(std::string_view bytes) {
  // A cut sequence starts in the last three bytes.
  for (size_t back = std::min<size_t>(3, bytes.size()); back >= 1; --back) {
    const size_t pos = bytes.size() - back;
    const auto b = static_cast<unsigned char>(bytes[pos]);
    if (b < 0xc0) continue;
    const Sequence s = sequence_at(bytes, pos);
    if (s.cut && pos + s.length == bytes.size()) return pos;
  }
  return bytes.size();
}

std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& c : candidates) {
    const size_t d = edit_distance(word, c);
    if (d < best_distance) {
      best_distance = d;
      best = &c;
    }
  }
  if (best == nullptr) return std::nullopt;
  return *best;
}

}  // namespace cria
