// How attention's work is cut for a GPU, by shape alone, and where the rows of it lie.
//
// H query heads, K key/value heads, D head_dim, G = H / K. A "row" is one query of one head of a group: row r of a KV head is
// query r / G, head r % G, as on the processor.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/attention.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/rows.h"

namespace cria::cuda {

/// Keys are summed apart over spans of so many, counted from position 0, and the spans then combined in order: so a decode step
/// that gives spans to different blocks gets the bits of a prompt.
constexpr int64_t kKeySpan = 512;

/// One document, or one sequence with its cache.
struct Sequence {
  const void *k, *v;           // key 0 of KV head 0
  int64_t k_stride, v_stride;  // elements from key to key
  int64_t k_head, v_head;      // and from KV head to KV head
  int64_t first_row;           // of its queries in q
  int64_t count;               // queries
  int64_t first_position;      // of query 0; it sees keys 0 .. first_position
  DType k_type, v_type;
};

/// Rows [begin, begin + count) of one sequence, or keys in backward's second half.
struct Tile {
  int32_t sequence;
  int32_t begin, count;
};

/// Tiles of `size` rows of every sequence with `rows_per_query` rows for each query; the last, which see the most keys, first.
inline std::vector<Tile> cut_tiles(std::span<const Sequence> sequences, int64_t rows_per_query,
                                   int64_t size) {
  std::vector<Tile> tiles;
  for (size_t n = 0; n < sequences.size(); ++n) {
    const int64_t rows = sequences[n].count * rows_per_query;
    for (int64_t t = (rows + size - 1) / size - 1; t >= 0; --t) {
      const int64_t begin = t * size, count = rows - begin < size ? rows - begin : size;
      tiles.push_back(
          {static_cast<int32_t>(n), static_cast<int32_t>(begin), static_cast<int32_t>(count)});
    }
  }
  return tiles;
}

inline std::vector<Sequence> document_sequences(ConstView k, ConstView v,
                                                std::span<const int64_t> documents,
                                                const ops::HeadShape& shape) {
  std::vector<Sequence> all;
  for (size_t n = 1; n < documents.size(); ++n) {
    const int64_t begin = documents[n - 1], count = documents[n] - begin;
    if (count == 0) continue;
    all.push_back({k.at(begin, 0), v.at(begin, 0), k.stride, v.stride, shape.head_dim,
                   shape.head_dim, begin, count, 0, k.dtype, v.dtype});
  }
  return all;
}

/// What every kernel of attention is told.
struct AttentionShape {
  int group, dim;
  float scale;  // 1 / sqrt(D)
};
AttentionShape attention_shape(const ops::HeadShape& shape);

/// Row r of a tile in a matrix [tokens, H * D].
__device__ inline int64_t query_row(const Sequence& s, int64_t row, int group) {
  return s.first_row + row / group;
}
__device__ inline int64_t query_head(int64_t row, int kv_head, int group) {
  return static_cast<int64_t>(kv_head) * group + row % group;
}
__device__ inline int64_t query_col(int64_t row, int kv_head, int group, int dim) {
  return query_head(row, kv_head, group) * dim;
}

}  // namespace cria::cuda
