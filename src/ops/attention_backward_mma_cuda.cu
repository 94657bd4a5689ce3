// Attention's gradients on tensor cores: one kernel for dq, a block for 128 rows over the keys they see, and one for dk and dv, a
// block for 64 keys over the rows that see them. Both make the scores again, and what they meet next is on its way meanwhile;
// nothing is added atomically, so sums have one order.
// Source: Dao, "FlashAttention-2", 2023, algorithm 2, with its loop over keys cut in two.
#include <cmath>

#include "ops/cuda/attention_mma.h"
#include "ops/cuda/launch.h"

namespace cria::cuda {
namespace {

constexpr int kOther = 32;  // keys (or rows) that a block meets at a time
constexpr int kTiles = kOther / 8;
constexpr int kQueryTiles = 2, kKeyTiles = 1;  // of 16 that a warp owns
constexpr float kLog2e = 1.4426950408889634f;

/// Rows (or keys) of a block.
template <int kOwnTiles>
constexpr int kOwned = 16 * kOwnTiles * kMmaWarps;

struct Inputs {
  ConstRows q, dout;
  const float *lse, *delta;
  int64_t lse_stride, delta_stride;
};

/// Two matrices of what the block owns, and two places for two matrices of what it meets: those at work, those on their way.
template <int kDim, int kOwnTiles>
struct Shared {
  static constexpr int kOwn = kOwned<kOwnTiles> * (kDim + kPad);
  static constexpr int kMet = kOther * (kDim + kPad);
  static constexpr int kNumbers = (2 * kOwn + 4 * kMet) * 2;
  static constexpr int kBytes = kNumbers + 4 * kOther * 4;
  SharedArray<uint16_t> own_a = shared_array<uint16_t>(0, kOwn);
  SharedArray<uint16_t> own_b = shared_array<uint16_t>(kOwn * 2, kOwn);
  [[nodiscard]] __device__ SharedArray<uint16_t> met_a(int place) const {
    return shared_array<uint16_t>((2 * kOwn + 2 * place * kMet) * 2, kMet);
  }
  [[nodiscard]] __device__ SharedArray<uint16_t> met_b(int place) const {
    return shared_array<uint16_t>((2 * kOwn + (2 * place + 1) * kMet) * 2, kMet);
  }
  /// Where rows are met: their numbers.
  [[nodiscard]] __device__ SharedArray<float> lse(int place) const {
    return shared_array<float>(kNumbers + 2 * place * kOther * 4, kOther);
  }
  [[nodiscard]] __device__ SharedArray<float> delta(int place) const {
    return shared_array<float>(kNumbers + (2 * place + 1) * kOther * 4, kOther);
  }
};

/// Sixteen rows of a gradient, all of kDim columns a lane's fragments; `place(row)` is where a row begins.
template <int kDim, class Place>
__device__ inline void write_rows(Rows to, const float (&sums)[kDim / 8][4], int first, int count,
                                  int dim, float factor, Place place) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, pair = lane % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + lane / 4 + half * 8;
    if (row >= count) continue;
    const int64_t at = place(row);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int d = n * 8 + pair + e;
        if (d < dim) store_one(to.data, to.type, at + d, sums[n][half * 2 + e] * factor);
      }
    }
  }
}

/// What a lane knows of the two rows whose fragments it holds.
struct LaneRows {
  int last[2];  // key that each sees
  float lse[2], delta[2];
};

/// scores [16, 8 kTiles] = the softmax's weights times (weights - delta), the gradient of the scores.
__device__ inline void score_gradients(float (&scores)[kTiles][4],
                                       const float (&weights)[kTiles][4], const LaneRows& rows,
                                       int key, float scale) {
  const int pair = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const bool sees = key + n * 8 + pair + e % 2 <= rows.last[e / 2];
      const float p = sees ? exp2f(scores[n][e] * scale * kLog2e - rows.lse[e / 2]) : 0.0f;
      scores[n][e] = p * (weights[n][e] - rows.delta[e / 2]);
    }
  }
}

// Grid: tiles of rows x KV heads.
template <bool kBf16, int kDim>
__global__ void __launch_bounds__(kMmaThreads)
    query_gradient(const Sequence* sequences, const Tile* tiles, Inputs in, AttentionShape shape,
                   Rows dq) {
  const Tile tile = tiles[blockIdx.x];
  const Sequence s = sequences[tile.sequence];
  const int kv_head = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(threadIdx.x) / kWarp * 16 * kQueryTiles;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Shared<kDim, kQueryTiles> shared;  // own: q, dout; met: k, v
  const int64_t end = tile.begin + tile.count;
  const int keys = static_cast<int>((end - 1) / shape.group) + 1;
  const KeyRows k = key_rows(s.k, s.k_stride, s.k_head, kv_head, 0, keys, shape.dim);
  const KeyRows v = key_rows(s.v, s.v_stride, s.v_head, kv_head, 0, keys, shape.dim);
  const auto start = [&](int place, int key) {
    start_rows<kOther, kDim>(shared.met_a(place), k.from(key), shape.dim);
    start_rows<kOther, kDim>(shared.met_b(place), v.from(key), shape.dim);
  };
  start_rows<kOwned<kQueryTiles>, kDim>(
      shared.own_a, query_rows(in.q, s, tile.begin, end, kv_head, shape), shape.dim);
  start_rows<kOwned<kQueryTiles>, kDim>(
      shared.own_b, query_rows(in.dout, s, tile.begin, end, kv_head, shape), shape.dim);
  start(0, 0);
  LaneRows lane_rows[kQueryTiles];
#pragma unroll
  for (int i = 0; i < kQueryTiles * 2; ++i) {
    const int here = first_row + i / 2 * 16 + lane / 4 + i % 2 * 8;
    const int64_t row = tile.begin + (here < tile.count ? here : tile.count - 1);
    const int64_t token = query_row(s, row, shape.group),
                  head = query_head(row, kv_head, shape.group);
    LaneRows& of = lane_rows[i / 2];
    of.last[i % 2] = static_cast<int>(row / shape.group);
    of.lse[i % 2] = in.lse[token * in.lse_stride + head] * kLog2e;
    of.delta[i % 2] = in.delta[token * in.delta_stride + head];
  }
  const int end_row = first_row + 16 * kQueryTiles;
  const int warp_last =
      (tile.begin + (end_row < tile.count ? end_row : tile.count) - 1) / shape.group;
  float sums[kQueryTiles][kDim / 8][4] = {};
  for (int key = 0; key < keys; key += kOther) {
    const int place = key / kOther % 2;
    rows_arrive();
    if (key + kOther < keys) start(1 - place, key + kOther);
    if (first_row >= tile.count || key > warp_last) continue;
    float scores[kQueryTiles][kTiles][4] = {}, weights[kQueryTiles][kTiles][4] = {};
    multiply_rows<kBf16, kDim>(scores, shared.own_a, first_row, shared.met_a(place));
    multiply_rows<kBf16, kDim>(weights, shared.own_b, first_row, shared.met_b(place));
#pragma unroll
    for (int m = 0; m < kQueryTiles; ++m)
      score_gradients(scores[m], weights[m], lane_rows[m], key, shape.scale);
    multiply_weights<kBf16, kDim>(sums, scores, shared.met_a(place));
  }
#pragma unroll
  for (int m = 0; m < kQueryTiles; ++m)
    write_rows<kDim>(dq, sums[m], first_row + m * 16, tile.count, shape.dim, shape.scale,
                     [&](int here) {
                       const int64_t row = tile.begin + here;
                       return query_row(s, row, shape.group) * dq.stride +
                              query_col(row, kv_head, shape.group, shape.dim);
                     });
}

// Grid: tiles of keys x KV heads.
template <bool kBf16, int kDim>
__global__ void __launch_bounds__(kMmaThreads)
    key_gradient(const Sequence* sequences, const Tile* tiles, Inputs in, AttentionShape shape,
                 Rows dk, Rows dv) {
  const Tile tile = tiles[blockIdx.x];
  const Sequence s = sequences[tile.sequence];
  const int kv_head = static_cast<int>(blockIdx.y);
  const int first_key = static_cast<int>(threadIdx.x) / kWarp * 16 * kKeyTiles;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, pair = lane % 4 * 2;
  const Shared<kDim, kKeyTiles> shared;  // own: k, v; met: q, dout
  const int end = tile.begin + tile.count;
  const int64_t rows = s.count * shape.group;
  const auto start = [&](int place, int64_t first) {
    start_rows<kOther, kDim>(shared.met_a(place), query_rows(in.q, s, first, rows, kv_head, shape),
                             shape.dim);
    start_rows<kOther, kDim>(shared.met_b(place),
                             query_rows(in.dout, s, first, rows, kv_head, shape), shape.dim);
    if (threadIdx.x >= kOther) return;
    const int64_t row = first + threadIdx.x, token = query_row(s, row, shape.group);
    const int64_t head = query_head(row, kv_head, shape.group);
    shared.lse(place)[threadIdx.x] =
        row < rows ? in.lse[token * in.lse_stride + head] * kLog2e : 0.0f;
    shared.delta(place)[threadIdx.x] = row < rows ? in.delta[token * in.delta_stride + head] : 0.0f;
  };
  start_rows<kOwned<kKeyTiles>, kDim>(
      shared.own_a, key_rows(s.k, s.k_stride, s.k_head, kv_head, tile.begin, end, shape.dim),
      shape.dim);
  start_rows<kOwned<kKeyTiles>, kDim>(
      shared.own_b, key_rows(s.v, s.v_stride, s.v_head, kv_head, tile.begin, end, shape.dim),
      shape.dim);
  const int64_t first_seen = int64_t{tile.begin} * shape.group;
  start(0, first_seen);
  float dk_sums[kKeyTiles][kDim / 8][4] = {}, dv_sums[kKeyTiles][kDim / 8][4] = {};
  int place = 0;
  for (int64_t first = first_seen; first < rows; first += kOther, place = 1 - place) {
    rows_arrive();
    if (first + kOther < rows) start(1 - place, first + kOther);
    if (first_key >= tile.count) continue;
    float scores[kKeyTiles][kTiles][4] = {}, weights[kKeyTiles][kTiles][4] = {};
    multiply_rows<kBf16, kDim>(scores, shared.own_a, first_key, shared.met_a(place));
    multiply_rows<kBf16, kDim>(weights, shared.own_b, first_key, shared.met_b(place));
    const SharedArray<float> lse = shared.lse(place), delta = shared.delta(place);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int met = n * 8 + pair + e % 2;
        const int64_t key = tile.begin + first_key + lane / 4 + e / 2 * 8;
        const bool sees = first + met < rows && (first + met) / shape.group >= key;
        float &score = scores[0][n][e], &weight = weights[0][n][e];
        const float p = sees ? exp2f(score * shape.scale * kLog2e - lse[met]) : 0.0f;
        score = p;
        weight = p * (weight - delta[met]);
      }
    }
    multiply_weights<kBf16, kDim>(dv_sums, scores, shared.met_b(place));
    multiply_weights<kBf16, kDim>(dk_sums, weights, shared.met_a(place));
  }
  const auto place_of = [&](int64_t stride) {
    return
        [=](int here) { return (s.first_row + tile.begin + here) * stride + kv_head * shape.dim; };
  };
  write_rows<kDim>(dk, dk_sums[0], first_key, tile.count, shape.dim, shape.scale,
                   place_of(dk.stride));
  write_rows<kDim>(dv, dv_sums[0], first_key, tile.count, shape.dim, 1.0f, place_of(dv.stride));
}

struct Call {
  std::span<const Sequence> sequences;
  Inputs in;
  Rows dq, dk, dv;
};

template <bool kBf16, int kDim>
void run(Stream& stream, const Call& call, const ops::HeadShape& heads) {
  const AttentionShape shape = attention_shape(heads);
  const std::vector<Tile> rows = cut_tiles(call.sequences, shape.group, kOwned<kQueryTiles>);
  const std::vector<Tile> keys = cut_tiles(call.sequences, 1, kOwned<kKeyTiles>);
  const Sequence* const s = stream.upload(call.sequences);
  const auto kv_heads = static_cast<unsigned>(heads.kv_heads);
  launch(query_gradient<kBf16, kDim>, dim3(static_cast<unsigned>(rows.size()), kv_heads),
         kMmaThreads, Shared<kDim, kQueryTiles>::kBytes, stream, s,
         stream.upload(std::span<const Tile>(rows)), call.in, shape, call.dq);
  launch(key_gradient<kBf16, kDim>, dim3(static_cast<unsigned>(keys.size()), kv_heads), kMmaThreads,
         Shared<kDim, kKeyTiles>::kBytes, stream, s, stream.upload(std::span<const Tile>(keys)),
         call.in, shape, call.dk, call.dv);
}

}  // namespace

void attention_backward_mma(Stream& stream, std::span<const Sequence> sequences, ConstView q,
                            ConstView lse, const float* delta, ConstView dout,
                            const ops::HeadShape& heads, View dq, View dk, View dv) {
  const Call call{sequences,
                  {rows_of(q), rows_of(dout), static_cast<const float*>(lse.data), delta,
                   lse.stride, heads.heads},
                  rows_of(dq),
                  rows_of(dk),
                  rows_of(dv)};
  const bool bf16 = q.dtype == DType::bf16, narrow = heads.head_dim <= 64;
  if (bf16 && narrow) return run<true, 64>(stream, call, heads);
  if (bf16) return run<true, 128>(stream, call, heads);
  if (narrow) return run<false, 64>(stream, call, heads);
  run<false, 128>(stream, call, heads);
}

}  // namespace cria::cuda
