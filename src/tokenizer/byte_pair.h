// Byte-pair merging of one pre-token: neighbours of the lowest rank are joined, the leftmost pair
// first, until no pair can be. O(n log n).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/piece_table.h"

namespace cria {

class BytePairMerger {
 public:
  /// Borrows the vocabulary, which passed check_vocabulary.
  explicit BytePairMerger(const Vocabulary& vocabulary);

  /// Appends the ids of the pre-token `piece`, which is not empty.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;
  /// The same by merging alone, even where the whole piece is a token.
  void merge(std::string_view piece, std::vector<TokenId>& out) const;
  [[nodiscard]] const PieceTable& pieces() const { return pieces_; }

 private:
  struct Part;
  [[nodiscard]] Merge merge_of(std::string_view piece, const Part& left, const Part& right) const;
  void merge_short(std::string_view piece, std::vector<TokenId>& out) const;
  void merge_long(std::string_view piece, std::vector<TokenId>& out) const;

  // Whether merging the bytes of a token gives that token back; learnt when it is first met.
  // Every thread would learn the same, so relaxed order does.
  enum class Whole : uint8_t { unknown, no, yes };

  PieceTable pieces_;
  std::optional<PairTable> pairs_;  // without it the rank of a pair is the id of the joined piece
  TokenId of_byte_[256];            // -1: dropped
  bool take_whole_;                 // a pre-token that is a token is taken without merging
  std::unique_ptr<std::atomic<Whole>[]> whole_;  // by id, unless take_whole_
};

}  // namespace cria
