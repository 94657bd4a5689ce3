#include "tokenizer/special_tokens.h"

#include <algorithm>

namespace cria {

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) {
  for (size_t id = 0; id < vocabulary.pieces.size(); ++id) {
    if (!vocabulary.special[id]) continue;
    sorted_.emplace_back(vocabulary.pieces[id], static_cast<TokenId>(id));
    only_first_ = vocabulary.pieces[id][0];
    first_[static_cast<unsigned char>(only_first_)] = true;
  }
  std::ranges::sort(sorted_);
  one_first_ = std::ranges::count(first_, true) == 1;
}

// Narrows the sorted list byte by byte to those that begin like the text; one of them that ends
// here stands first among the rest.
SpecialTokens::Match SpecialTokens::longest_at(std::string_view text, size_t pos) const {
  Match best;
  auto low = sorted_.begin(), high = sorted_.end();
  for (size_t depth = 0; low != high; ++depth) {
    if (low->first.size() == depth) {
      best = {pos, depth, low->second};
      if (++low == high) break;
    }
    if (pos + depth >= text.size()) break;
    const auto byte = static_cast<unsigned char>(text[pos + depth]);
    const auto at_depth = [depth](const auto& entry) {
      return static_cast<unsigned char>(entry.first[depth]);
    };
    low = std::ranges::lower_bound(low, high, byte, {}, at_depth);
    high = std::ranges::upper_bound(low, high, byte, {}, at_depth);
  }
  return best;
}

SpecialTokens::Match SpecialTokens::find_in(std::string_view text, size_t pos) const {
  if (sorted_.empty()) return {};
  for (; pos < text.size(); ++pos) {
    if (one_first_) {
      pos = text.find(only_first_, pos);
      if (pos == std::string_view::npos) break;
    } else if (!first_[static_cast<unsigned char>(text[pos])]) {
      continue;
    }
    if (const Match match = longest_at(text, pos); match.id >= 0) return match;
  }
  return {};
}

std::optional<TokenId> SpecialTokens::find(std::string_view text) const {
  const auto at =
      std::ranges::lower_bound(sorted_, text, {}, [](const auto& e) { return e.first; });
  if (at == sorted_.end() || at->first != text) return std::nullopt;
  return at->second;
}

}  // namespace cria
