// Attention on tensor cores: a block has 64 rows (16 a warp) and meets their keys 64 at a time. Scores and sums in f32; the
// softmax's weights are rounded to 16 bits for the second product.
// Source: Dao, "FlashAttention-2", 2023, algorithm 1.
#include <cmath>

#include "ops/cuda/attention_mma.h"

namespace cria::cuda {
namespace {

constexpr int kKeys = 64;
constexpr int kTiles = kKeys / 8;

template <int kDim>
struct Shared {
  static constexpr int kRows = kMmaRows * (kDim + kPad);
  static constexpr int kKeyRows = kKeys * (kDim + kPad);
  static constexpr int kValues = kDim * (kKeys + kPad);
  static constexpr int kBytes = (kRows + kKeyRows + kValues) * 2;
  SharedArray<uint16_t> q, k, v;  // v transposed
  __device__ Shared()
      : q(shared_array<uint16_t>(0, kRows)),
        k(shared_array<uint16_t>(kRows * 2, kKeyRows)),
        v(shared_array<uint16_t>((kRows + kKeyRows) * 2, kValues)) {}
};

/// The two rows whose fragments a lane holds.
struct LaneRows {
  int64_t last[2];  // key that each sees
  float most[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  // this lane's part
};

/// Scores become weights exp(score - most); what was summed before is rescaled.
template <int kDim>
__device__ inline void soften(float (&scores)[kTiles][4], float (&out)[kDim / 8][4], LaneRows& rows,
                              int64_t key, float scale) {
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

// Grid: tiles of kMmaRows rows x KV heads.
template <bool kBf16, int kDim>
__global__ void __launch_bounds__(kMmaThreads)
    forward(const Sequence* sequences, const Tile* tiles, ConstRows q, AttentionShape shape,
            Rows out, float* lse, int64_t lse_stride) {
  const Tile tile = tiles[blockIdx.x];
  const Sequence s = sequences[tile.sequence];
  const int kv_head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, pair = lane % 4 * 2;
  const Shared<kDim> shared;
  load_rows<kMmaRows, kDim>(
      shared.q, query_rows(q, s, tile.begin, tile.begin + tile.count, kv_head, shape), shape.dim);

  // Rows beyond the tile's end see what its last one does, and are not written.
  const auto last_key = [&](int row) {
    const int there = row < tile.count ? row : tile.count - 1;
    return s.first_position + (tile.begin + there) / shape.group;
  };
  const int first_row = warp * 16;
  const int64_t warp_last = last_key(first_row + 15), keys = last_key(tile.count - 1) + 1;
  LaneRows rows;
  rows.last[0] = last_key(first_row + lane / 4);
  rows.last[1] = last_key(first_row + lane / 4 + 8);
  float sums[kDim / 8][4] = {};
  for (int64_t key = 0; key < keys; key += kKeys) {
    __syncthreads();
    load_rows<kKeys, kDim>(
        shared.k, key_rows(s.k, s.k_stride, s.k_head, kv_head, key, keys, shape.dim), shape.dim);
    load_transposed<kKeys, kDim>(
        shared.v, key_rows(s.v, s.v_stride, s.v_head, kv_head, key, keys, shape.dim), shape.dim);
    __syncthreads();
    if (first_row >= tile.count || key > warp_last) continue;
    float scores[kTiles][4] = {};
    multiply_rows<kBf16, kDim>(scores, shared.q, first_row, shared.k);
    soften<kDim>(scores, sums, rows, key, shape.scale);
    multiply_weights<kBf16, kDim>(sums, scores, shared.v);
  }
  if (first_row >= tile.count) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = row_sum(rows.sum[half]);
    const int row_here = first_row + lane / 4 + half * 8;
    if (row_here >= tile.count) continue;
    const int64_t row = tile.begin + row_here, token = query_row(s, row, shape.group);
    const int64_t col = query_col(row, kv_head, shape.group, shape.dim);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int d = n * 8 + pair + e;
        if (d < shape.dim)
          store_one(out.data, out.type, token * out.stride + col + d, sums[n][half * 2 + e] / sum);
      }
    }
    if (lse != nullptr && pair == 0) {
      constexpr float ln2 = 0.6931471805599453f;
      lse[token * lse_stride + static_cast<int64_t>(kv_head) * shape.group + row % shape.group] =
          rows.most[half] * ln2 + logf(sum);
    }
  }
}

template <bool kBf16, int kDim>
void run(Stream& stream, std::span<const Sequence> sequences, ConstView q,
         const ops::HeadShape& heads, View out, View lse) {
  const AttentionShape shape = attention_shape(heads);
  const std::vector<Tile> tiles = cut_tiles(sequences, shape.group, kMmaRows);
  launch(forward<kBf16, kDim>,
         dim3(static_cast<unsigned>(tiles.size()), static_cast<unsigned>(heads.kv_heads)),
         kMmaThreads, Shared<kDim>::kBytes, stream.handle(), stream.upload(sequences),
         stream.upload(std::span<const Tile>(tiles)), rows_of(q), shape, rows_of(out),
         static_cast<float*>(lse.data), lse.stride);
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
