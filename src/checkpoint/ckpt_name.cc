#include "checkpoint/ckpt_name.h"

#include <algorithm>
#include <charconv>

namespace cria {
namespace {

constexpr std::string_view kDigits = "0123456789";

int64_t value_of(std::string_view digits) {
  int64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

}  // namespace

bool is_digits(std::string_view text, size_t most) {
  return !text.empty() && text.size() <= most &&
         text.find_first_not_of(kDigits) == std::string_view::npos;
}

std::optional<CkptName> parse_ckpt_name(std::string_view name) {
  constexpr std::string_view kEnd = ".ckpt";
  constexpr size_t kMost = 15;
  const size_t dash = name.rfind('-');
  if (dash == std::string_view::npos || !name.ends_with(kEnd)) return std::nullopt;
  std::string_view numbers = name.substr(dash + 1);
  numbers.remove_suffix(std::min(kEnd.size(), numbers.size()));
  const size_t bar = numbers.find('_');
  if (bar == std::string_view::npos) return std::nullopt;
  const std::string_view epoch = numbers.substr(0, bar), step = numbers.substr(bar + 1);
  if (!is_digits(epoch, kMost) || !is_digits(step, kMost)) return std::nullopt;
  return CkptName{std::string(name.substr(0, dash)), value_of(epoch), value_of(step)};
}

std::string without_rank(std::string_view name) {
  std::string common;
  for (size_t at = 0; at < name.size(); ++at) {
    common += name[at];
    if (name[at] != '_') continue;
    const size_t end = std::min(name.find_first_not_of(kDigits, at + 1), name.size());
    const bool number = is_digits(name.substr(at + 1, end - at - 1), 9);
    if (number && end < name.size() && (name[end] == '-' || name[end] == '.')) at = end - 1;
  }
  return common;
}

}  // namespace cria
