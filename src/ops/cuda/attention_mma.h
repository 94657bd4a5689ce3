// What attention's kernels on tensor cores share: tiles of 16-bit rows in shared memory, and a warp's products of 16 rows with them.
//
// A warp's results are fragments: lane l holds, of every 8 columns, columns 2 (l % 4) and the next of row l / 4 (numbers 0 and 1)
// and of row l / 4 + 8 (numbers 2 and 3).
#pragma once

#include <cstdint>

#include "ops/cuda/attention_tiles.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {

constexpr int kMmaThreads = 128;
constexpr int kMmaWarps = kMmaThreads / kWarp;
constexpr int kMmaRows = 16 * kMmaWarps;  // that a block owns
// Rows lie so far apart that the eight groups of a warp's lanes meet different banks.
constexpr int kPad = 8;

/// Rows of 16-bit numbers of one head, from `begin` on; none from `end` on.
struct KeyRows {
  const uint16_t* data;  // of key 0
  int64_t stride, begin, end;
  bool wide;  // eight numbers from a multiple of 8 on are aligned
  __device__ const uint16_t* row(int r) const {
    return begin + r < end ? data + (begin + r) * stride : nullptr;
  }
};
struct QueryRows {
  ConstRows matrix;
  Sequence sequence;
  int64_t begin, end;
  int kv_head, group, dim;
  bool wide;
  __device__ const uint16_t* row(int r) const {
    const int64_t row = begin + r;
    if (row >= end) return nullptr;
    return static_cast<const uint16_t*>(matrix.data) +
           query_row(sequence, row, group) * matrix.stride + query_col(row, kv_head, group, dim);
  }
};

__device__ inline KeyRows key_rows(const void* data, int64_t stride, int64_t head_step, int kv_head,
                                   int64_t begin, int64_t end, int dim) {
  const auto* const head = static_cast<const uint16_t*>(data) + kv_head * head_step;
  const bool wide = reinterpret_cast<uintptr_t>(head) % 16 == 0 && stride % 8 == 0 && dim % 8 == 0;
  return {head, stride, begin, end, wide};
}
__device__ inline QueryRows query_rows(ConstRows matrix, const Sequence& s, int64_t begin,
                                       int64_t end, int kv_head, const AttentionShape& shape) {
  return {matrix,  s,           begin,     end,
          kv_head, shape.group, shape.dim, matrix.wide && shape.dim % 8 == 0};
}

/// Numbers col .. col + 7 of a row, zeros from `dim` on and for no row.
__device__ inline uint4 eight_of(const uint16_t* row, int col, int dim, bool wide) {
  if (row == nullptr || col >= dim) return make_uint4(0, 0, 0, 0);
  if (wide) return *reinterpret_cast<const uint4*>(row + col);
  uint32_t pairs[4] = {};
  for (int i = 0; i < 8; ++i) {
    if (col + i < dim) pairs[i / 2] |= static_cast<uint32_t>(row[col + i]) << (i % 2 * 16);
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// to [kCount, kDim + kPad] = rows, by the whole block.
template <int kCount, int kDim, class Source>
__device__ inline void load_rows(SharedArray<uint16_t> to, const Source& source, int dim) {
  for (int i = threadIdx.x; i < kCount * kDim / 8; i += kMmaThreads) {
    const int r = i / (kDim / 8), d = i % (kDim / 8) * 8;
    store_eight(to, r * (kDim + kPad) + d, eight_of(source.row(r), d, dim, source.wide));
  }
}
/// to [kDim, kCount + kPad] = rows, transposed: two rows a thread, so that neighbouring threads write neighbouring pairs.
template <int kCount, int kDim, class Source>
__device__ inline void load_transposed(SharedArray<uint16_t> to, const Source& source, int dim) {
  for (int i = threadIdx.x; i < kCount / 2 * kDim / 8; i += kMmaThreads) {
    const int r = i % (kCount / 2) * 2, d = i / (kCount / 2) * 8;
    const uint4 a = eight_of(source.row(r), d, dim, source.wide);
    const uint4 b = eight_of(source.row(r + 1), d, dim, source.wide);
    const uint32_t first[4] = {a.x, a.y, a.z, a.w}, second[4] = {b.x, b.y, b.z, b.w};
    for (int e = 0; e < 8; ++e) {
      const int shift = e % 2 * 16;
      const uint32_t pair = (first[e / 2] >> shift & 0xffffu) | (second[e / 2] >> shift) << 16;
      store_pair(to, (d + e) * (kCount + kPad) + r, pair);
    }
  }
}

template <bool kBf16>
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (kBf16) {
    mma_bf16(d, a, b);
  } else {
    mma_f16(d, a, b);
  }
}
template <bool kBf16>
__device__ inline uint32_t rounded_pair(float lower, float upper) {
  return pair_of(lower, upper, kBf16 ? DType::bf16 : DType::f16);
}

/// d [16, 8 kTiles] += rows [first, first + 16) of a times all rows of b: both [., kDim + kPad].
template <bool kBf16, int kDim, int kTiles>
__device__ inline void multiply_rows(float (&d)[kTiles][4], SharedArray<uint16_t> a, int first,
                                     SharedArray<uint16_t> b) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, group = lane / 4, pair = lane % 4 * 2;
  constexpr int stride = kDim + kPad;
  for (int k = 0; k < kDim; k += 16) {
    const int at = (first + group) * stride + k + pair;
    const uint32_t left[4] = {load_pair(a, at), load_pair(a, at + 8 * stride), load_pair(a, at + 8),
                              load_pair(a, at + 8 * stride + 8)};
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const int b_at = (n * 8 + group) * stride + k + pair;
      const uint32_t right[2] = {load_pair(b, b_at), load_pair(b, b_at + 8)};
      mma<kBf16>(d[n], left, right);
    }
  }
}

/// d [16, kDim] += weights [16, 8 kTiles], rounded to 16 bits, times rows that lie transposed: [kDim, 8 kTiles + kPad].
template <bool kBf16, int kDim, int kTiles>
__device__ inline void multiply_weights(float (&d)[kDim / 8][4], const float (&weights)[kTiles][4],
                                        SharedArray<uint16_t> transposed) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, group = lane / 4, pair = lane % 4 * 2;
  constexpr int stride = kTiles * 8 + kPad;
#pragma unroll
  for (int k = 0; k < kTiles; k += 2) {
    const float(&w)[4] = weights[k], (&next)[4] = weights[k + 1];
    const uint32_t left[4] = {rounded_pair<kBf16>(w[0], w[1]), rounded_pair<kBf16>(w[2], w[3]),
                              rounded_pair<kBf16>(next[0], next[1]),
                              rounded_pair<kBf16>(next[2], next[3])};
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const int at = (n * 8 + group) * stride + k * 8 + pair;
      const uint32_t right[2] = {load_pair(transposed, at), load_pair(transposed, at + 8)};
      mma<kBf16>(d[n], left, right);
    }
  }
}

/// Over the four lanes that hold a row.
__device__ inline float row_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}
__device__ inline float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}

/// Whether tensor cores can be used: one 16-bit type, heads of at most 128.
inline bool mma_fits(const ops::HeadShape& shape, DType q, std::span<const Sequence> sequences) {
  for (const Sequence& s : sequences) {
    if (s.k_type != q || s.v_type != q) return false;
  }
  return shape.head_dim <= 128 && q != DType::f32;
}

/// Of attention_mma_cuda.cu and attention_backward_mma_cuda.cu, for what fits. `sequences` lie in the host's memory.
void attention_forward_mma(Stream& stream, std::span<const Sequence> sequences, ConstView q,
                           const ops::HeadShape& heads, View out, View lse);
/// `delta` [T, H]: dout . out.
void attention_backward_mma(Stream& stream, std::span<const Sequence> sequences, ConstView q,
                            ConstView lse, const float* delta, ConstView dout,
                            const ops::HeadShape& heads, View dq, View dk, View dv);

}  // namespace cria::cuda
