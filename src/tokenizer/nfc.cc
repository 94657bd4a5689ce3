#include "tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace cria {
namespace {

using CodePoints = std::vector<utf8proc_int32_t>;

CodePoints decompose(std::string_view text) {
  CodePoints out;
  out.reserve(text.size() + text.size() / 2);
  utf8proc_int32_t parts[32];  // the longest decomposition has 4
  int boundary = 0;
  for (size_t pos = 0; pos < text.size();) {
    const auto c = static_cast<utf8proc_int32_t>(next_code_point(text, pos));
    const auto count = utf8proc_decompose_char(c, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    check(count >= 0 && count <= 32, "a code point decomposes into few");
    out.insert(out.end(), parts, parts + count);
  }
  return out;
}

// Marks between two base characters go into the order of their classes. utf8proc's own ordering
// takes quadratic time on a long run of marks.
void order_marks(CodePoints& text) {
  const auto mark_class = [](utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  };
  auto run = text.begin();
  while (run != text.end()) {
    run = std::find_if(run, text.end(), [&](auto c) { return mark_class(c) != 0; });
    const auto end = std::find_if(run, text.end(), [&](auto c) { return mark_class(c) == 0; });
    if (end - run > 1) std::ranges::stable_sort(run, end, {}, mark_class);
    run = end;
  }
}

}  // namespace

std::string nfc(std::string_view text) {
  if (std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return std::string(text);
  CodePoints points = decompose(text);
  order_marks(points);
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const auto count = utf8proc_normalize_utf32(
      points.data(), static_cast<utf8proc_ssize_t>(points.size()), options);
  check(count >= 0 && static_cast<size_t>(count) <= points.size(), "composing shortens");
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    append_utf8(out, static_cast<char32_t>(points[static_cast<size_t>(i)]));
  return out;
}

}  // namespace cria
