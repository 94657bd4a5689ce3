#include "recipe/python_repr.h"

#include <fmt/core.h>
#include <utf8proc.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"

namespace cria::recipe {
namespace {

// str.isprintable: no controls, format characters, surrogates, private or unassigned ones, and no separators but the space.
bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

void append_escape(std::string& out, char32_t c) {
  const auto code = static_cast<uint32_t>(c);
  if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (code < 0x100) {
    out += fmt::format("\\x{:02x}", code);
  } else if (code < 0x10000) {
    out += fmt::format("\\u{:04x}", code);
  } else {
    out += fmt::format("\\U{:08x}", code);
  }
}

// Shortest digits, placed as Python does: positional from 1e-4 up to 1e16, else with an exponent of two digits at least.
template <class Float>
std::string shortest(Float value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  // Compared in double: the f32 nearest to 1e-4 lies below it, and numpy prints 1e-04.
  const double size = std::fabs(static_cast<double>(value));
  const bool positional = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = positional ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  std::string text(buffer.data(), end);
  if (positional && text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace

std::string python_repr(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (is_printable(c)) {
      out += text.substr(begin, at - begin);
    } else {
      append_escape(out, c);
    }
  }
  return out + quote;
}

std::string python_results(std::span<const std::vector<std::string>> batches) {
  std::string out = "[";
  for (size_t b = 0; b < batches.size(); ++b) {
    out += b == 0 ? "{'text_generation_text': [" : ", {'text_generation_text': [";
    for (size_t i = 0; i < batches[b].size(); ++i) {
      if (i > 0) out += ", ";
      out += python_repr(batches[b][i]);
    }
    out += "]}";
  }
  return out + "]";
}

std::string python_float(double value) { return shortest(value); }
std::string numpy_float32(double value) { return shortest(static_cast<float>(value)); }

}  // namespace cria::recipe
