// What a plain scalar means. PyYAML decides by patterns; the same decisions are made here by hand.
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/checked.h"
#include "recipe/yaml.h"

namespace cria::recipe {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Lower, Title and UPPER case of a word, and no other mixture.
bool is_word(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  bool low = true, title = true, upper = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const char up = static_cast<char>(lower[i] - 'a' + 'A');
    low &= text[i] == lower[i];
    title &= text[i] == (i == 0 ? up : lower[i]);
    upper &= text[i] == up;
  }
  return low || title || upper;
}

std::optional<uint64_t> digits(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string without_underscores(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c != '_') out += c;
  return out;
}

// 1:30:00 counts in sixties.
std::optional<uint64_t> sexagesimal(std::string_view text) {
  if (text.find(':') == std::string_view::npos || !is_digit(text[0]) || text[0] == '0')
    return std::nullopt;
  uint64_t value = 0;
  for (bool first = true; !text.empty() || first; first = false) {
    const size_t colon = text.find(':');
    const auto part = digits(text.substr(0, colon), 10);
    if (!part || (!first && (*part > 59 || colon == 0)) || *part > (uint64_t{1} << 32) ||
        value > (uint64_t{1} << 32))
      return std::nullopt;
    value = value * 60 + *part;
    if (colon == std::string_view::npos) return value;
    text.remove_prefix(colon + 1);
    if (text.empty()) return std::nullopt;
  }
  return std::nullopt;
}

std::optional<int64_t> whole_number(std::string_view text) {
  const bool negative = text[0] == '-';
  if (negative || text[0] == '+') text.remove_prefix(1);
  if (text.empty() || !is_digit(text[0])) return std::nullopt;
  const std::string plain = without_underscores(text);
  std::optional<uint64_t> value;
  if (plain.starts_with("0x")) {
    value = digits(std::string_view(plain).substr(2), 16);
  } else if (plain.starts_with("0b")) {
    value = digits(std::string_view(plain).substr(2), 2);
  } else if (plain.find(':') != std::string::npos) {
    value = sexagesimal(plain);
  } else {
    value = digits(plain, plain.size() > 1 && plain[0] == '0' ? 8 : 10);
  }
  if (!value || *value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return std::nullopt;
  const auto n = static_cast<int64_t>(*value);
  return negative ? -n : n;
}

std::optional<double> special_number(std::string_view text) {
  const bool negative = text[0] == '-';
  const bool sign = negative || text[0] == '+';
  const std::string_view rest = text.substr(sign ? 1 : 0);
  if (!rest.starts_with('.')) return std::nullopt;
  if (is_word(rest.substr(1), "inf"))
    return negative ? -std::numeric_limits<double>::infinity()
                    : std::numeric_limits<double>::infinity();
  if (!sign && (rest == ".nan" || rest == ".NaN" || rest == ".NAN"))
    return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

std::optional<double> decimal_number(std::string_view text) {
  const bool negative = text[0] == '-';
  if (negative || text[0] == '+') text.remove_prefix(1);
  const std::string plain = without_underscores(text);
  if (plain.empty() ||
      !(is_digit(plain[0]) || (plain.size() > 1 && plain[0] == '.' && is_digit(plain[1]))))
    return std::nullopt;
  double value = 0;
  const char* end = plain.data() + plain.size();
  const auto [at, error] = std::from_chars(plain.data(), end, value);
  if (error != std::errc() || at != end) return std::nullopt;
  return negative ? -value : value;
}

}  // namespace

YamlNode plain_scalar(std::string written) {
  using Kind = YamlNode::Kind;
  YamlNode node;
  node.text = std::move(written);
  const std::string& t = node.text;
  if (t.empty() || t == "~" || is_word(t, "null")) return node;
  for (const char* yes : {"true", "yes", "on"}) {
    if (is_word(t, yes)) {
      node.kind = Kind::boolean;
      node.boolean = true;
    }
  }
  for (const char* no : {"false", "no", "off"})
    if (is_word(t, no)) node.kind = Kind::boolean;
  if (node.kind == Kind::boolean) return node;
  if (const auto n = whole_number(t)) {
    node.kind = Kind::integer;
    node.integer = *n;
    node.number = static_cast<double>(*n);
    return node;
  }
  auto n = special_number(t);
  if (!n) n = decimal_number(t);
  node.kind = n ? Kind::number : Kind::text;
  node.number = n.value_or(0);
  return node;
}

}  // namespace cria::recipe
