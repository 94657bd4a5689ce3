// Attention of a tile of rows over the keys they see, a few keys at a time in shared memory: any head_dim and any mix of dtypes.
// What tensor cores can do goes to attention_mma_cuda.cu, but for the single tokens of a decode step.
#include <algorithm>
#include <cmath>

#include "ops/cuda/attention_mma.h"
#include "ops/cuda/attention_tiles.h"
#include "ops/cuda/int8_rows.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRowsOfWarp = 4;
constexpr int kTileRows = kWarps * kRowsOfWarp;
constexpr int kKeys = kWarp;  // keys in shared memory; a lane has one of them
constexpr int kDims = kMostHeadDim / kWarp;

/// A row's softmax over some keys, not yet divided: lane l has dims l, l + 32, ...
struct Partial {
  float most = -INFINITY, sum = 0;
  float out[kDims] = {};
};

/// a = both, as if b's keys had followed a's.
__device__ inline void combine(Partial& a, const Partial& b) {
  const float most = fmaxf(a.most, b.most);
  const float scale_a = a.sum == 0 ? 0.0f : expf(a.most - most);
  const float scale_b = b.sum == 0 ? 0.0f : expf(b.most - most);
  a.most = most;
  a.sum = a.sum * scale_a + b.sum * scale_b;
#pragma unroll
  for (int i = 0; i < kDims; ++i) a.out[i] = a.out[i] * scale_a + b.out[i] * scale_b;
}

struct Shared {
  SharedArray<float> q, k, v;  // [kTileRows, D], [kKeys, D + 1], [kKeys, D]
  __device__ explicit Shared(int dim)
      : q(shared_array<float>(0, kTileRows * dim)),
        k(shared_array<float>(kTileRows * dim * 4, kKeys * (dim + 1))),
        v(shared_array<float>((kTileRows * dim + kKeys * (dim + 1) + 3) / 4 * 16, kKeys * dim)) {}
  static int bytes(int dim) {
    return (kTileRows * dim + kKeys * (dim + 1) + 3) / 4 * 16 + kKeys * dim * 4;
  }
};

__device__ inline void load_queries(const Shared& shared, const Sequence& s, const Tile& tile,
                                    ConstRows q, const AttentionShape& shape, int kv_head) {
  for (int i = threadIdx.x; i < kTileRows * shape.dim; i += kThreads) {
    const int r = i / shape.dim;
    const int64_t row = tile.begin + r;
    const int64_t at = query_row(s, row, shape.group) * q.stride +
                       query_col(row, kv_head, shape.group, shape.dim) + i % shape.dim;
    shared.q[i] = r < tile.count ? load_one(q.data, q.type, at) * shape.scale : 0.0f;
  }
}

/// Number d of a key or value that begins at element `row`.
__device__ inline float load_cached(const void* data, DType type, int64_t row, int d, int dim) {
  if (type == DType::i8) return int8_row_number(static_cast<const int8_t*>(data) + row, d, dim);
  return load_one(data, type, row + d);
}

/// Keys [begin, begin + kKeys) and their values; zeros from `end` on.
__device__ inline void load_keys(const Shared& shared, const Sequence& s, int kv_head,
                                 int64_t begin, int64_t end, int dim) {
  for (int i = threadIdx.x; i < kKeys * dim; i += kThreads) {
    const int j = i / dim, d = i % dim;
    const bool there = begin + j < end;
    const int64_t k_row = kv_head * s.k_head + (begin + j) * s.k_stride;
    const int64_t v_row = kv_head * s.v_head + (begin + j) * s.v_stride;
    shared.k[j * (dim + 1) + d] = there ? load_cached(s.k, s.k_type, k_row, d, dim) : 0.0f;
    shared.v[j * dim + d] = there ? load_cached(s.v, s.v_type, v_row, d, dim) : 0.0f;
  }
}

/// The keys in shared memory, `begin` the first of them, for one row of this warp that sees keys up to `last`.
__device__ inline void attend(Partial& p, const Shared& shared, int row, int64_t begin,
                              int64_t last, int dim) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float score = 0;
  for (int d = 0; d < dim; ++d) score += shared.q[row * dim + d] * shared.k[lane * (dim + 1) + d];
  if (begin + lane > last) score = -INFINITY;
  const float most = fmaxf(p.most, warp_max(score));
  const float weight = expf(score - most), old = p.sum == 0 ? 0.0f : expf(p.most - most);
  p.most = most;
  p.sum = p.sum * old + warp_sum(weight);
#pragma unroll
  for (int i = 0; i < kDims; ++i) p.out[i] *= old;
  for (int j = 0; j < kKeys; ++j) {
    const float w = __shfl_sync(kAllLanes, weight, j);
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      const int d = lane + i * kWarp;
      if (d < dim) p.out[i] += w * shared.v[j * dim + d];
    }
  }
}

/// The keys of one span for the warp's rows: partials[i] of tile row warp * kRowsOfWarp + i.
__device__ inline void attend_span(Partial (&partials)[kRowsOfWarp], const Shared& shared,
                                   const Sequence& s, const Tile& tile, int kv_head, int64_t begin,
                                   int64_t end, const AttentionShape& shape) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int64_t key = begin; key < end; key += kKeys) {
    __syncthreads();
    load_keys(shared, s, kv_head, key, end, shape.dim);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      const int row = warp * kRowsOfWarp + i;
      const int64_t last = s.first_position + (tile.begin + row) / shape.group;
      if (row < tile.count && key <= last) attend(partials[i], shared, row, key, last, shape.dim);
    }
  }
}

__device__ inline int64_t keys_of(const Sequence& s, const Tile& tile, int group) {
  return s.first_position + (tile.begin + tile.count - 1) / group + 1;
}

/// out = p / sum, and lse = log(sum of exponentials) where it is wanted.
__device__ inline void write_row(const Partial& p, const Sequence& s, int64_t row, int kv_head,
                                 const AttentionShape& shape, Rows out, float* lse,
                                 int64_t lse_stride) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t token = query_row(s, row, shape.group);
  const int64_t at = token * out.stride + query_col(row, kv_head, shape.group, shape.dim);
#pragma unroll
  for (int i = 0; i < kDims; ++i) {
    const int d = lane + i * kWarp;
    if (d < shape.dim) store_one(out.data, out.type, at + d, p.out[i] / p.sum);
  }
  if (lse != nullptr && lane == 0) {
    lse[token * lse_stride + query_head(row, kv_head, shape.group)] = p.most + logf(p.sum);
  }
}

// A tile of rows over all its keys. Grid: tiles x KV heads.
__global__ void __launch_bounds__(kThreads)
    forward(const Sequence* sequences, const Tile* tiles, ConstRows q, AttentionShape shape,
            Rows out, float* lse, int64_t lse_stride) {
  const Tile tile = tiles[blockIdx.x];
  const Sequence s = sequences[tile.sequence];
  const int kv_head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  const Shared shared(shape.dim);
  load_queries(shared, s, tile, q, shape, kv_head);
  const int64_t keys = keys_of(s, tile, shape.group);
  Partial total[kRowsOfWarp];
  for (int64_t begin = 0; begin < keys; begin += kKeySpan) {
    Partial span[kRowsOfWarp];
    const int64_t end = begin + kKeySpan < keys ? begin + kKeySpan : keys;
    attend_span(span, shared, s, tile, kv_head, begin, end, shape);
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) combine(total[i], span[i]);
  }
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int row = warp * kRowsOfWarp + i;
    if (row < tile.count)
      write_row(total[i], s, tile.begin + row, kv_head, shape, out, lse, lse_stride);
  }
}

/// A decode step's sequences, and the partial results of their spans: [2 + D] numbers for each row of a tile.
struct DecodeStep {
  static constexpr size_t kMost = 8;
  Sequence sequences[kMost];
  int tiles;  // of each sequence
  int spans;  // of the longest one
  float* partials;
};

__device__ inline int64_t partial_size(int dim) { return int64_t{kTileRows} * (2 + dim); }

__device__ inline Tile decode_tile(int tile, int group) {
  const int begin = tile * kTileRows, left = group - begin;
  return {0, begin, left < kTileRows ? left : kTileRows};
}
/// Where a span's results of the block's KV head and sequence lie.
__device__ inline float* partial_of(const DecodeStep& step, int tile, int span, int dim) {
  const int64_t number =
      ((static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * step.tiles + tile) *
          step.spans +
      span;
  return step.partials + number * partial_size(dim);
}

// One span each. Grid: spans of the longest sequence x tiles, KV heads, sequences.
__global__ void __launch_bounds__(kThreads)
    decode_span(const __grid_constant__ DecodeStep step, ConstRows q, AttentionShape shape) {
  const Sequence& s = step.sequences[blockIdx.z];
  const int number = static_cast<int>(blockIdx.x) / step.tiles;
  const int tile_number = static_cast<int>(blockIdx.x) % step.tiles;
  const Tile tile = decode_tile(tile_number, shape.group);
  const int64_t keys = keys_of(s, tile, shape.group), begin = number * kKeySpan;
  if (begin >= keys) return;
  const int kv_head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Shared shared(shape.dim);
  load_queries(shared, s, tile, q, shape, kv_head);
  const int64_t end = begin + kKeySpan < keys ? begin + kKeySpan : keys;
  Partial span[kRowsOfWarp];
  attend_span(span, shared, s, tile, kv_head, begin, end, shape);
  float* const to = partial_of(step, tile_number, number, shape.dim);
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    float* const row = to + (warp * kRowsOfWarp + i) * (2 + shape.dim);
    if (lane == 0) {
      row[0] = span[i].most;
      row[1] = span[i].sum;
    }
#pragma unroll
    for (int n = 0; n < kDims; ++n) {
      if (lane + n * kWarp < shape.dim) row[2 + lane + n * kWarp] = span[i].out[n];
    }
  }
}

// The spans of a tile in order. Grid: tiles, KV heads, sequences.
__global__ void __launch_bounds__(kThreads)
    combine_spans(const __grid_constant__ DecodeStep step, AttentionShape shape, Rows out) {
  const Sequence& s = step.sequences[blockIdx.z];
  const int tile_number = static_cast<int>(blockIdx.x);
  const Tile tile = decode_tile(tile_number, shape.group);
  const int kv_head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t keys = keys_of(s, tile, shape.group);
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int tile_row = warp * kRowsOfWarp + i;
    if (tile_row >= tile.count) continue;
    Partial total;
    for (int n = 0; n * kKeySpan < keys; ++n) {
      const float* const row =
          partial_of(step, tile_number, n, shape.dim) + tile_row * (2 + shape.dim);
      Partial span;
      span.most = row[0];
      span.sum = row[1];
#pragma unroll
      for (int e = 0; e < kDims; ++e) {
        if (lane + e * kWarp < shape.dim) span.out[e] = row[2 + lane + e * kWarp];
      }
      combine(total, span);
    }
    write_row(total, s, tile.begin + tile_row, kv_head, shape, out, nullptr, 0);
  }
}

void run_forward(Stream& stream, std::span<const Sequence> sequences, ConstView q,
                 const ops::HeadShape& heads, View out, View lse) {
  if (sequences.empty()) return;
  if (mma_fits(heads, q.dtype, sequences))
    return attention_forward_mma(stream, sequences, q, heads, out, lse);
  const AttentionShape shape = attention_shape(heads);
  const std::vector<Tile> tiles = cut_tiles(sequences, shape.group, kTileRows);
  launch(forward, dim3(static_cast<unsigned>(tiles.size()), static_cast<unsigned>(heads.kv_heads)),
         kThreads, Shared::bytes(shape.dim), stream, stream.upload(sequences),
         stream.upload(std::span<const Tile>(tiles)), rows_of(q), shape, rows_of(out),
         static_cast<float*>(lse.data), lse.stride);
}

void run_decode(Stream& stream, std::span<const Sequence> sequences, ConstView q,
                const ops::HeadShape& heads, View out) {
  const AttentionShape shape = attention_shape(heads);
  for (size_t first = 0; first < sequences.size(); first += DecodeStep::kMost) {
    const auto some =
        sequences.subspan(first, std::min(DecodeStep::kMost, sequences.size() - first));
    DecodeStep step{};
    std::copy(some.begin(), some.end(), step.sequences);
    step.tiles = static_cast<int>(blocks_for(shape.group, kTileRows));
    int64_t longest = 0;
    for (const Sequence& s : some) longest = std::max(longest, s.first_position + 1);
    step.spans = static_cast<int>(blocks_for(longest, kKeySpan));
    const auto tiles = static_cast<unsigned>(step.tiles), spans = static_cast<unsigned>(step.spans);
    const auto kv_heads = static_cast<unsigned>(heads.kv_heads),
               count = static_cast<unsigned>(some.size());
    step.partials = stream.scratch<float>(static_cast<int64_t>(some.size()) * heads.kv_heads *
                                          step.tiles * step.spans * kTileRows * (2 + shape.dim));
    launch(decode_span, dim3(spans * tiles, kv_heads, count), kThreads, Shared::bytes(shape.dim),
           stream, step, rows_of(q), shape);
    launch(combine_spans, dim3(tiles, kv_heads, count), kThreads, 0, stream, step, shape,
           rows_of(out));
  }
}

}  // namespace

AttentionShape attention_shape(const ops::HeadShape& shape) {
  return {static_cast<int>(shape.heads / shape.kv_heads), static_cast<int>(shape.head_dim),
          static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_dim)))};
}

void attention(Stream& stream, ConstView q, ConstView k, ConstView v,
               std::span<const int64_t> documents, const ops::HeadShape& shape, View out,
               View lse) {
  run_forward(stream, document_sequences(k, v, documents, shape), q, shape, out, lse);
}

namespace {

Sequence cached_sequence(const ops::CachedSequence& c) {
  return {c.k.data,
          c.v.data,
          c.k.stride,
          c.v.stride,
          c.capacity * c.k.stride,
          c.capacity * c.v.stride,
          c.first_row,
          c.count,
          c.first_position,
          c.k.dtype,
          c.v.dtype};
}

/// The sequence with its keys and values opened from 8 bits in memory that the op gives back, in q's dtype: tensor cores take them
/// so. Every number is read by many queries, so opening it once costs little.
ops::CachedSequence opened(Stream& stream, const ops::CachedSequence& c, DType dtype,
                           const ops::HeadShape& heads) {
  ops::CachedSequence plain = c;
  plain.capacity = c.first_position + c.count;
  const int64_t rows = heads.kv_heads * plain.capacity;
  const auto open = [&](ConstView from) {
    const View to{stream.scratch<std::byte>(bytes_of(dtype, rows * heads.head_dim)), dtype, rows,
                  heads.head_dim};
    open_int8_rows(stream, from, c.capacity, plain.capacity, to);
    return to;
  };
  plain.k = open(c.k);
  plain.v = open(c.v);
  return plain;
}

}  // namespace

void attention_cached(Stream& stream, ConstView q, std::span<const ops::CachedSequence> sequences,
                      const ops::HeadShape& shape, View out) {
  std::vector<Sequence> prompts, tokens;
  for (const ops::CachedSequence& c : sequences) {
    if (c.count == 0) continue;
    if (c.count == 1) {
      tokens.push_back(cached_sequence(c));
    } else {
      const bool opens = c.k.dtype == DType::i8;
      prompts.push_back(cached_sequence(opens ? opened(stream, c, q.dtype, shape) : c));
    }
  }
  run_forward(stream, prompts, q, shape, out, {});
  run_decode(stream, tokens, q, shape, out);
}

}  // namespace cria::cuda
