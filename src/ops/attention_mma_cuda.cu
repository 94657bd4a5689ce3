// Attention on tensor cores: a block has 128 rows (32 a warp) and meets their keys 64 at a time; the next are on their way
// meanwhile. Scores and sums in f32; the softmax's weights are rounded to 16 bits for the second product.
// Source: Dao, "FlashAttention-2", 2023, algorithm 1.
#include <cmath>

#include "ops/cuda/attention_mma.h"
#include "ops/cuda/launch.h"

namespace cria::cuda {
namespace {

constexpr int kKeys = 32;
constexpr int kTiles = kKeys / 8;
constexpr int kRowTiles = 2;
constexpr int kRows = 16 * kRowTiles * kMmaWarps;

/// The block's queries, and two places for keys and values: those at work and those on their way.
template <int kDim>
struct Shared {
  static constexpr int kQuery = kRows * (kDim + kPad);
  static constexpr int kKey = kKeys * (kDim + kPad);
  static constexpr int kBytes = (kQuery + 4 * kKey) * 2;
  SharedArray<uint16_t> q = shared_array<uint16_t>(0, kQuery);
  [[nodiscard]] __device__ SharedArray<uint16_t> k(int place) const {
    return shared_array<uint16_t>((kQuery + 2 * place * kKey) * 2, kKey);
  }
  [[nodiscard]] __device__ SharedArray<uint16_t> v(int place) const {
    return shared_array<uint16_t>((kQuery + (2 * place + 1) * kKey) * 2, kKey);
  }
};

/// The two rows whose fragments a lane holds of 16.
struct LaneRows {
  int last[2];  // key that each sees
  float most[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  // this lane's part
};

/// Scores become weights exp(score - most); what was summed before is rescaled.
template <int kDim>
__device__ inline void soften(float (&scores)[kTiles][4], float (&out)[kDim / 8][4], LaneRows& rows,
                              int key, float scale) {
  const int pair = static_cast<int>(threadIdx.x) % 4 * 2;
  const float log2e = 1.4426950408889634f, factor = scale * log2e;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = rows.most[half];
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& score = scores[n][half * 2 + e];
        score = key + n * 8 + pair + e <= rows.last[half] ? score * factor : -INFINITY;
        most = fmaxf(most, score);
      }
    }
    most = row_max(most);
    const float old = exp2f(rows.most[half] - most);
    rows.most[half] = most;
    rows.sum[half] *= old;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& score = scores[n][half * 2 + e];
        score = exp2f(score - most);
        rows.sum[half] += score;
      }
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) out[n][half * 2 + e] *= old;
    }
  }
}

struct Results {
  Rows out;
  float* lse;  // or null
  int64_t lse_stride;
};

/// Sixteen rows of the block, from `first` on.
template <int kDim>
__device__ inline void write_results(const Results& to, const float (&sums)[kDim / 8][4],
                                     const LaneRows& rows, int first, const Tile& tile,
                                     const Sequence& s, int kv_head, const AttentionShape& shape) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, pair = lane % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = row_sum(rows.sum[half]);
    const int here = first + lane / 4 + half * 8;
    if (here >= tile.count) continue;
    const int64_t row = tile.begin + here, token = query_row(s, row, shape.group);
    const int64_t at = token * to.out.stride + query_col(row, kv_head, shape.group, shape.dim);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int d = n * 8 + pair + e;
        if (d < shape.dim) store_one(to.out.data, to.out.type, at + d, sums[n][half * 2 + e] / sum);
      }
    }
    if (to.lse == nullptr || pair != 0) continue;
    constexpr float ln2 = 0.6931471805599453f;
    to.lse[token * to.lse_stride + query_head(row, kv_head, shape.group)] =
        rows.most[half] * ln2 + logf(sum);
  }
}

// Grid: tiles of kRows rows x KV heads.
template <bool kBf16, int kDim>
__global__ void __launch_bounds__(kMmaThreads)
    forward(const Sequence* sequences, const Tile* tiles, ConstRows q, AttentionShape shape,
            Results results) {
  const Tile tile = tiles[blockIdx.x];
  const Sequence s = sequences[tile.sequence];
  const int kv_head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Shared<kDim> shared;
  // Rows beyond the tile's end see what its last one does, and are not written.
  const auto last_key = [&](int row) {
    const int there = row < tile.count ? row : tile.count - 1;
    return static_cast<int>(s.first_position) + (tile.begin + there) / shape.group;
  };
  const int first_row = warp * 16 * kRowTiles;
  const int warp_last = last_key(first_row + 16 * kRowTiles - 1);
  const int keys = last_key(tile.count - 1) + 1;
  const KeyRows k = key_rows(s.k, s.k_stride, s.k_head, kv_head, 0, keys, shape.dim);
  const KeyRows v = key_rows(s.v, s.v_stride, s.v_head, kv_head, 0, keys, shape.dim);
  const auto start = [&](int place, int key) {
    start_rows<kKeys, kDim>(shared.k(place), k.from(key), shape.dim);
    start_rows<kKeys, kDim>(shared.v(place), v.from(key), shape.dim);
  };
  start_rows<kRows, kDim>(
      shared.q, query_rows(q, s, tile.begin, tile.begin + tile.count, kv_head, shape), shape.dim);
  start(0, 0);
  LaneRows rows[kRowTiles];
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
    rows[m].last[0] = last_key(first_row + m * 16 + lane / 4);
    rows[m].last[1] = last_key(first_row + m * 16 + lane / 4 + 8);
  }
  float sums[kRowTiles][kDim / 8][4] = {};
  for (int key = 0; key < keys; key += kKeys) {
    const int place = key / kKeys % 2;
    rows_arrive();
    if (key + kKeys < keys) start(1 - place, key + kKeys);
    if (first_row >= tile.count || key > warp_last) continue;
    float scores[kRowTiles][kTiles][4] = {};
    multiply_rows<kBf16, kDim>(scores, shared.q, first_row, shared.k(place));
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) soften<kDim>(scores[m], sums[m], rows[m], key, shape.scale);
    multiply_weights<kBf16, kDim>(sums, scores, shared.v(place));
  }
  if (first_row >= tile.count) return;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
    write_results<kDim>(results, sums[m], rows[m], first_row + m * 16, tile, s, kv_head, shape);
}

template <bool kBf16, int kDim>
void run(Stream& stream, std::span<const Sequence> sequences, ConstView q,
         const ops::HeadShape& heads, View out, View lse) {
  const AttentionShape shape = attention_shape(heads);
  const std::vector<Tile> tiles = cut_tiles(sequences, shape.group, kRows);
  launch(forward<kBf16, kDim>,
         dim3(static_cast<unsigned>(tiles.size()), static_cast<unsigned>(heads.kv_heads)),
         kMmaThreads, Shared<kDim>::kBytes, stream, stream.upload(sequences),
         stream.upload(std::span<const Tile>(tiles)), rows_of(q), shape,
         Results{rows_of(out), static_cast<float*>(lse.data), lse.stride});
}

}  // namespace

void attention_forward_mma(Stream& stream, std::span<const Sequence> sequences, ConstView q,
                           const ops::HeadShape& heads, View out, View lse) {
  const bool bf16 = q.dtype == DType::bf16, narrow = heads.head_dim <= 64;
  if (bf16 && narrow) return run<true, 64>(stream, sequences, q, heads, out, lse);
  if (bf16) return run<true, 128>(stream, sequences, q, heads, out, lse);
  if (narrow) return run<false, 64>(stream, sequences, q, heads, out, lse);
  run<false, 128>(stream, sequences, q, heads, out, lse);
}

}  // namespace cria::cuda
