// Finds special tokens in text.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace cria {

class SpecialTokens {
 public:
  /// Borrows the vocabulary.
  explicit SpecialTokens(const Vocabulary& vocabulary);

  struct Match {
    size_t begin = std::string_view::npos;  // npos: none
    size_t size = 0;
    TokenId id = -1;
  };
  /// The first special token at or behind `pos`; of several at one place the longest.
  [[nodiscard]] Match find_in(std::string_view text, size_t pos) const;
  /// The special token with exactly this text.
  [[nodiscard]] std::optional<TokenId> find(std::string_view text) const;

 private:
  [[nodiscard]] Match longest_at(std::string_view text, size_t pos) const;
  std::vector<std::pair<std::string_view, TokenId>> sorted_;
  std::array<bool, 256> first_{};  // bytes that begin one
  char only_first_ = '\0';         // that byte when there is just one
  bool one_first_ = false;
};

}  // namespace cria
