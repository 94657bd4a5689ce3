// Attention's gradients on tensor cores: one kernel for dq, a block for 64 rows over the keys they see, and one for dk and dv, a
// block for 64 keys over the rows that see them. Both make the scores again; nothing is added atomically, so sums have one order.
// Source: Dao, "FlashAttention-2", 2023, algorithm 2, with its loop over keys cut in two.
#include <cmath>

#include "ops/cuda/attention_mma.h"

namespace cria::cuda {
namespace {

constexpr int kOther = 32;  // keys (or rows) that a block meets at a time
constexpr int kTiles = kOther / 8;
constexpr float kLog2e = 1.4426950408889634f;

struct Inputs {
  ConstRows q, dout;
  const float *lse, *delta;
  int64_t lse_stride, delta_stride;
};

/// Two matrices of what the block owns, two of what it meets, and the latter transposed as far as they are needed.
template <int kDim, int kTransposed>
struct Shared {
  static constexpr int kOwn = kMmaRows * (kDim + kPad);
  static constexpr int kMet = kOther * (kDim + kPad);
  static constexpr int kTurned = kDim * (kOther + kPad);
  static constexpr int kNumbers = (2 * kOwn + 2 * kMet + kTransposed * kTurned) * 2;
  static constexpr int kBytes = kNumbers + 2 * kOther * 4;
  SharedArray<uint16_t> own_a, own_b, met_a, met_b, turned_a, turned_b;
  SharedArray<float> lse, delta;
  __device__ Shared()
      : own_a(shared_array<uint16_t>(0, kOwn)),
        own_b(shared_array<uint16_t>(kOwn * 2, kOwn)),
        met_a(shared_array<uint16_t>(kOwn * 4, kMet)),
        met_b(shared_array<uint16_t>(kOwn * 4 + kMet * 2, kMet)),
        turned_a(shared_array<uint16_t>(kOwn * 4 + kMet * 4, kTurned)),
        turned_b(
            shared_array<uint16_t>(kOwn * 4 + kMet * 4 + (kTransposed - 1) * kTurned * 2, kTurned)),
        lse(shared_array<float>(kNumbers, kOther)),
        delta(shared_array<float>(kNumbers + kOther * 4, kOther)) {}
};

__device__ inline int64_t head_of(int64_t row, int kv_head, int group) {
  return static_cast<int64_t>(kv_head) * group + row % group;
}

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

// Grid: tiles of rows x KV heads.
template <bool kBf16, int kDim>
__global__ void __launch_bounds__(kMmaThreads)
    query_gradient(const Sequence* sequences, const Tile* tiles, Inputs in, AttentionShape shape,
                   Rows dq) {
  const Tile tile = tiles[blockIdx.x];
  const Sequence s = sequences[tile.sequence];
  const int kv_head = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(threadIdx.x) / kWarp * 16;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, pair = lane % 4 * 2;
  const Shared<kDim, 1> shared;  // own: q, dout; met: k, v; turned: k
  const int64_t end = tile.begin + tile.count;
  load_rows<kMmaRows, kDim>(shared.own_a, query_rows(in.q, s, tile.begin, end, kv_head, shape),
                            shape.dim);
  load_rows<kMmaRows, kDim>(shared.own_b, query_rows(in.dout, s, tile.begin, end, kv_head, shape),
                            shape.dim);
  int64_t last[2];
  float lse[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int here = first_row + lane / 4 + half * 8;
    const int64_t row = tile.begin + (here < tile.count ? here : tile.count - 1);
    const int64_t token = query_row(s, row, shape.group), head = head_of(row, kv_head, shape.group);
    last[half] = row / shape.group;
    lse[half] = in.lse[token * in.lse_stride + head] * kLog2e;
    delta[half] = in.delta[token * in.delta_stride + head];
  }
  const int64_t keys = (end - 1) / shape.group + 1;
  const int warp_rows = first_row + 16 < tile.count ? first_row + 16 : tile.count;
  const int64_t warp_last = (tile.begin + warp_rows - 1) / shape.group;
  float sums[kDim / 8][4] = {};
  for (int64_t key = 0; key < keys; key += kOther) {
    const KeyRows k = key_rows(s.k, s.k_stride, s.k_head, kv_head, key, keys, shape.dim);
    __syncthreads();
    load_rows<kOther, kDim>(shared.met_a, k, shape.dim);
    load_rows<kOther, kDim>(shared.met_b,
                            key_rows(s.v, s.v_stride, s.v_head, kv_head, key, keys, shape.dim),
                            shape.dim);
    load_transposed<kOther, kDim>(shared.turned_a, k, shape.dim);
    __syncthreads();
    if (first_row >= tile.count || key > warp_last) continue;
    float scores[kTiles][4] = {}, weights[kTiles][4] = {};
    multiply_rows<kBf16, kDim>(scores, shared.own_a, first_row, shared.met_a);
    multiply_rows<kBf16, kDim>(weights, shared.own_b, first_row, shared.met_b);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool sees = key + n * 8 + pair + e % 2 <= last[e / 2];
        const float p = sees ? exp2f(scores[n][e] * shape.scale * kLog2e - lse[e / 2]) : 0.0f;
        scores[n][e] = p * (weights[n][e] - delta[e / 2]);
      }
    }
    multiply_weights<kBf16, kDim>(sums, scores, shared.turned_a);
  }
  write_rows<kDim>(dq, sums, first_row, tile.count, shape.dim, shape.scale, [&](int here) {
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
  const int first_key = static_cast<int>(threadIdx.x) / kWarp * 16;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, pair = lane % 4 * 2;
  const Shared<kDim, 2> shared;  // own: k, v; met and turned: q, dout
  const int64_t end = tile.begin + tile.count;
  load_rows<kMmaRows, kDim>(
      shared.own_a, key_rows(s.k, s.k_stride, s.k_head, kv_head, tile.begin, end, shape.dim),
      shape.dim);
  load_rows<kMmaRows, kDim>(
      shared.own_b, key_rows(s.v, s.v_stride, s.v_head, kv_head, tile.begin, end, shape.dim),
      shape.dim);
  const int64_t rows = s.count * shape.group;
  float dk_sums[kDim / 8][4] = {}, dv_sums[kDim / 8][4] = {};
  for (int64_t first = int64_t{tile.begin} * shape.group; first < rows; first += kOther) {
    const QueryRows q = query_rows(in.q, s, first, rows, kv_head, shape);
    const QueryRows dout = query_rows(in.dout, s, first, rows, kv_head, shape);
    __syncthreads();
    load_rows<kOther, kDim>(shared.met_a, q, shape.dim);
    load_rows<kOther, kDim>(shared.met_b, dout, shape.dim);
    load_transposed<kOther, kDim>(shared.turned_a, q, shape.dim);
    load_transposed<kOther, kDim>(shared.turned_b, dout, shape.dim);
    if (threadIdx.x < kOther) {
      const int64_t row = first + threadIdx.x, token = query_row(s, row, shape.group);
      const int64_t head = head_of(row, kv_head, shape.group);
      shared.lse[threadIdx.x] = row < rows ? in.lse[token * in.lse_stride + head] * kLog2e : 0.0f;
      shared.delta[threadIdx.x] = row < rows ? in.delta[token * in.delta_stride + head] : 0.0f;
    }
    __syncthreads();
    if (first_key >= tile.count) continue;
    float scores[kTiles][4] = {}, weights[kTiles][4] = {};
    multiply_rows<kBf16, kDim>(scores, shared.own_a, first_key, shared.met_a);
    multiply_rows<kBf16, kDim>(weights, shared.own_b, first_key, shared.met_b);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int met = n * 8 + pair + e % 2;
        const int64_t key = tile.begin + first_key + lane / 4 + e / 2 * 8;
        const bool sees = first + met < rows && (first + met) / shape.group >= key;
        const float p = sees ? exp2f(scores[n][e] * shape.scale * kLog2e - shared.lse[met]) : 0.0f;
        scores[n][e] = p;
        weights[n][e] = p * (weights[n][e] - shared.delta[met]);
      }
    }
    multiply_weights<kBf16, kDim>(dv_sums, scores, shared.turned_b);
    multiply_weights<kBf16, kDim>(dk_sums, weights, shared.turned_a);
  }
  const auto place = [&](int64_t stride) {
    return
        [=](int here) { return (s.first_row + tile.begin + here) * stride + kv_head * shape.dim; };
  };
  write_rows<kDim>(dk, dk_sums, first_key, tile.count, shape.dim, shape.scale, place(dk.stride));
  write_rows<kDim>(dv, dv_sums, first_key, tile.count, shape.dim, 1.0f, place(dv.stride));
}

struct Call {
  std::span<const Sequence> sequences;
  Inputs in;
  Rows dq, dk, dv;
};

template <bool kBf16, int kDim>
void run(Stream& stream, const Call& call, const ops::HeadShape& heads) {
  const AttentionShape shape = attention_shape(heads);
  const std::vector<Tile> rows = cut_tiles(call.sequences, shape.group, kMmaRows);
  const std::vector<Tile> keys = cut_tiles(call.sequences, 1, kMmaRows);
  const Sequence* const s = stream.upload(call.sequences);
  const auto kv_heads = static_cast<unsigned>(heads.kv_heads);
  launch(query_gradient<kBf16, kDim>, dim3(static_cast<unsigned>(rows.size()), kv_heads),
         kMmaThreads, Shared<kDim, 1>::kBytes, stream.handle(), s,
         stream.upload(std::span<const Tile>(rows)), call.in, shape, call.dq);
  launch(key_gradient<kBf16, kDim>, dim3(static_cast<unsigned>(keys.size()), kv_heads), kMmaThreads,
         Shared<kDim, 2>::kBytes, stream.handle(), s, stream.upload(std::span<const Tile>(keys)),
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
