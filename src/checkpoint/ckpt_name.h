// The recipe's names of checkpoint files, `<prefix>_rank_<r>-<epoch>_<step>.ckpt`, taken apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cria {

struct CkptName {
  std::string before;  // the last "-"
  int64_t epoch = 0, step = 0;
};

/// Nothing for names that do not end in `-<epoch>_<step>.ckpt`, both of 1 to 15 digits.
std::optional<CkptName> parse_ckpt_name(std::string_view name);

/// 1 to `most` digits and nothing else.
bool is_digits(std::string_view text, size_t most);

/// What the files of all ranks have in common: `_<1 to 9 digits>` before "-" or "." becomes "_".
std::string without_rank(std::string_view name);

}  // namespace cria
