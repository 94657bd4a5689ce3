// The bytes of a piece -> its token id, and pairs of ids -> how they merge. Open addressing in one
// flat array each: a lookup is one hash and, as a rule, two cache lines.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace cria {

/// Ids of ordinary (not special) pieces by their bytes. Borrows the pieces.
class PieceTable {
 public:
  /// Pieces must be unique among the ordinary ones; of two equal ones the first is found.
  explicit PieceTable(const Vocabulary& vocabulary);

  /// -1 when there is none.
  [[nodiscard]] TokenId find(std::string_view bytes) const;
  /// Length of the longest ordinary piece.
  [[nodiscard]] size_t longest() const { return longest_; }

 private:
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash
    TokenId id = -1;   // -1: free
  };
  const std::vector<std::string>* pieces_;
  std::vector<Slot> slots_;
  uint64_t seed_, mask_;
  size_t longest_ = 0;
};

/// What two neighbours become.
struct Merge {
  uint32_t rank;  // lower ones come first
  TokenId joined;
};

/// The merge list as a table.
class PairTable {
 public:
  /// The vocabulary passed check_vocabulary.
  explicit PairTable(const Vocabulary& vocabulary);

  [[nodiscard]] const Merge* find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    TokenId left = -1, right = -1;  // -1: free
    Merge merge{};
  };
  [[nodiscard]] uint64_t place(TokenId left, TokenId right) const;
  std::vector<Slot> slots_;
  uint64_t seed_, mask_;
};

}  // namespace cria
