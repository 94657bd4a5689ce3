#include "tokenizer/piece_table.h"

#include <algorithm>
#include <bit>
#include <random>

#include "tokenizer/hash.h"

namespace cria {
namespace {

// At most half of the slots are in use, so that runs stay short.
uint64_t slots_for(size_t entries) { return std::bit_ceil(std::max<uint64_t>(8, entries * 2)); }

}  // namespace

uint64_t hash_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return static_cast<uint64_t>(device()) << 32 | device();
  }();
  return seed;
}

PieceTable::PieceTable(const Vocabulary& vocabulary)
    : pieces_(&vocabulary.pieces),
      slots_(slots_for(vocabulary.pieces.size())),
      seed_(hash_seed()),
      mask_(slots_.size() - 1) {
  for (size_t id = 0; id < pieces_->size(); ++id) {
    if (vocabulary.special[id]) continue;
    const std::string& piece = (*pieces_)[id];
    longest_ = std::max(longest_, piece.size());
    const uint64_t hash = hash_bytes(piece, seed_);
    uint64_t at = hash & mask_;
    while (slots_[at].id >= 0) at = (at + 1) & mask_;
    slots_[at] = {static_cast<uint32_t>(hash >> 32), static_cast<TokenId>(id)};
  }
}

TokenId PieceTable::find(std::string_view bytes) const {
  if (bytes.size() > longest_) return -1;
  const uint64_t hash = hash_bytes(bytes, seed_);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (uint64_t at = hash & mask_;; at = (at + 1) & mask_) {
    const Slot slot = slots_[at];
    if (slot.id < 0) return -1;
    if (slot.tag == tag && (*pieces_)[static_cast<size_t>(slot.id)] == bytes) return slot.id;
  }
}

PairTable::PairTable(const Vocabulary& vocabulary)
    : slots_(slots_for(vocabulary.merges.size())), seed_(hash_seed()), mask_(slots_.size() - 1) {
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto [left, right] = vocabulary.merges[rank];
    uint64_t at = place(left, right);
    while (slots_[at].left >= 0) at = (at + 1) & mask_;
    slots_[at] = {left, right, {static_cast<uint32_t>(rank), vocabulary.merged[rank]}};
  }
}

uint64_t PairTable::place(TokenId left, TokenId right) const {
  const uint64_t key = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  return hash_mix(key ^ seed_, 0x9e3779b97f4a7c15 ^ (seed_ << 1)) & mask_;
}

const Merge* PairTable::find(TokenId left, TokenId right) const {
  for (uint64_t at = place(left, right);; at = (at + 1) & mask_) {
    const Slot& slot = slots_[at];
    if (slot.left < 0) return nullptr;
    if (slot.left == left && slot.right == right) return &slot.merge;
  }
}

}  // namespace cria
