#include "tokenizer/byte_pair.h"

#include <queue>

#include "base/error.h"

namespace cria {
namespace {

constexpr uint32_t kNoMerge = UINT32_MAX;
// Below this a scan for the lowest rank costs less than a heap: it is a few cache lines.
constexpr size_t kShort = 48;

}  // namespace

// A token in the making: piece[begin, begin + size).
struct BytePairMerger::Part {
  uint32_t begin, size;
  TokenId id;
};

BytePairMerger::BytePairMerger(const Vocabulary& vocabulary)
    : pieces_(vocabulary), take_whole_(vocabulary.rank_is_id || vocabulary.ignore_merges) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    of_byte_[byte] = pieces_.find({&c, 1});
    if (of_byte_[byte] < 0) of_byte_[byte] = vocabulary.unknown.value_or(-1);
  }
  if (!vocabulary.rank_is_id) pairs_.emplace(vocabulary);
  if (!take_whole_) whole_ = std::make_unique<std::atomic<Whole>[]>(vocabulary.pieces.size());
}

void BytePairMerger::encode(std::string_view piece, std::vector<TokenId>& out) const {
  const TokenId id = pieces_.find(piece);
  if (id < 0) return merge(piece, out);
  if (take_whole_) return out.push_back(id);
  std::atomic<Whole>& whole = whole_[static_cast<size_t>(id)];
  const Whole known = whole.load(std::memory_order_relaxed);
  if (known == Whole::yes) return out.push_back(id);
  const size_t before = out.size();
  merge(piece, out);
  if (known == Whole::unknown) {
    const bool yes = out.size() == before + 1 && out.back() == id;
    whole.store(yes ? Whole::yes : Whole::no, std::memory_order_relaxed);
  }
}

Merge BytePairMerger::merge_of(std::string_view piece, const Part& left, const Part& right) const {
  if (pairs_) {
    const Merge* merge = pairs_->find(left.id, right.id);
    return merge != nullptr ? *merge : Merge{kNoMerge, -1};
  }
  const TokenId id = pieces_.find(piece.substr(left.begin, left.size + right.size));
  return {id < 0 ? kNoMerge : static_cast<uint32_t>(id), id};
}

void BytePairMerger::merge(std::string_view piece, std::vector<TokenId>& out) const {
  if (piece.size() <= kShort) {
    merge_short(piece, out);
  } else {
    merge_long(piece, out);
  }
}

void BytePairMerger::merge_short(std::string_view piece, std::vector<TokenId>& out) const {
  Part parts[kShort];
  Merge merges[kShort];  // merges[i]: parts i and i + 1
  size_t count = 0;
  for (size_t i = 0; i < piece.size(); ++i)
    if (const TokenId id = of_byte_[static_cast<unsigned char>(piece[i])]; id >= 0)
      parts[count++] = {static_cast<uint32_t>(i), 1, id};
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merge_of(piece, parts[i], parts[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == kNoMerge) break;
    parts[best].size += parts[best + 1].size;
    parts[best].id = merges[best].joined;
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      parts[i] = parts[i + 1];
      merges[i - 1] = merges[i];
    }
    if (best > 0) merges[best - 1] = merge_of(piece, parts[best - 1], parts[best]);
    if (best + 1 < count) merges[best] = merge_of(piece, parts[best], parts[best + 1]);
  }
  for (size_t i = 0; i < count; ++i) out.push_back(parts[i].id);
}

void BytePairMerger::merge_long(std::string_view piece, std::vector<TokenId>& out) const {
  require(piece.size() < UINT32_MAX, "encode: a run of {} bytes without a break is too long",
          piece.size());
  struct Node {
    Part part;
    uint32_t previous, next;  // places of the neighbours
    uint32_t rank;            // of the merge with the next one, as last computed
  };
  // A node's place never changes, so places are in text order; `end` is one past the last.
  std::vector<Node> nodes;
  nodes.reserve(piece.size());
  for (uint32_t i = 0; i < piece.size(); ++i) {
    const auto place = static_cast<uint32_t>(nodes.size());
    if (const TokenId id = of_byte_[static_cast<unsigned char>(piece[i])]; id >= 0)
      nodes.push_back({{i, 1, id}, place - 1, place + 1, kNoMerge});
  }
  const auto end = static_cast<uint32_t>(nodes.size());
  // Lowest rank first, then leftmost: both in one number.
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue;
  const auto consider = [&](uint32_t at) {
    Node& node = nodes[at];
    node.rank =
        node.next == end ? kNoMerge : merge_of(piece, node.part, nodes[node.next].part).rank;
    if (node.rank != kNoMerge) queue.push(static_cast<uint64_t>(node.rank) << 32 | at);
  };
  for (uint32_t i = 0; i < end; ++i) consider(i);
  while (!queue.empty()) {
    const auto at = static_cast<uint32_t>(queue.top());
    const auto rank = static_cast<uint32_t>(queue.top() >> 32);
    queue.pop();
    Node& node = nodes[at];
    if (node.rank != rank) continue;  // joined or changed since it was queued
    Node& right = nodes[node.next];
    node.part.id = merge_of(piece, node.part, right.part).joined;
    node.part.size += right.part.size;
    right.rank = kNoMerge;
    node.next = right.next;
    if (node.next != end) nodes[node.next].previous = at;
    consider(at);
    if (at != 0) consider(node.previous);
  }
  for (uint32_t at = 0; at != end; at = nodes[at].next) out.push_back(nodes[at].part.id);
}

}  // namespace cria
