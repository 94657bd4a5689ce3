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
// Rows lie so far apart that the eight groups of a warp's lanes meet different banks.
constexpr int kPad = 8;

/// Rows of 16-bit numbers of one head, from `begin` on; none from `end` on.
struct KeyRows {
  const uint16_t* data;  // of key 0
  int stride, begin, end;
  bool wide;  // eight numbers from a multiple of 8 on are aligned
  __device__ const uint16_t* row(int r) const {
    return begin + r < end ? data + static_cast<int64_t>(begin + r) * stride : nullptr;
  }
  [[nodiscard]] __device__ KeyRows from(int key) const { return {data, stride, key, end, wide}; }
  /// An address that a copy of nothing may name.
  __device__ const uint16_t* anywhere() const { return data; }
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
  __device__ const uint16_t* anywhere() const { return static_cast<const uint16_t*>(matrix.data); }
};

__device__ inline KeyRows key_rows(const void* data, int64_t stride, int64_t head_step, int kv_head,
                                   int begin, int end, int dim) {
  const auto* const head = static_cast<const uint16_t*>(data) + kv_head * head_step;
  const bool wide = reinterpret_cast<uintptr_t>(head) % 16 == 0 && stride % 8 == 0 && dim % 8 == 0;
  return {head, static_cast<int>(stride), begin, end, wide};
}
__device__ inline QueryRows query_rows(ConstRows matrix, const Sequence& s, int64_t begin,
                                       int64_t end, int kv_head, const AttentionShape& shape) {
  return {matrix,  s,           begin,     end,
          kv_head, shape.group, shape.dim, matrix.wide && shape.dim % 8 == 0};
}

/// Numbers col .. col + 7 of a row, zeros from `dim` on and for no row.
__device__ inline uint4 eight_of(const uint16_t* row, int col, int dim) {
  if (row == nullptr || col >= dim) return make_uint4(0, 0, 0, 0);
  uint32_t pairs[4] = {};
  for (int i = 0; i < 8; ++i) {
    if (col + i < dim) pairs[i / 2] |= static_cast<uint32_t>(row[col + i]) << (i % 2 * 16);
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// to [kCount, kDim + kPad] = rows, by the whole block; they are there after rows_arrive().
template <int kCount, int kDim, class Source>
__device__ inline void start_rows(SharedArray<uint16_t> to, const Source& source, int dim) {
  for (int i = threadIdx.x; i < kCount * kDim / 8; i += kMmaThreads) {
    const int r = i / (kDim / 8), d = i % (kDim / 8) * 8, at = r * (kDim + kPad) + d;
    const uint16_t* const row = source.row(r);
    if (source.wide) {
      const bool exists = row != nullptr && d < dim;
      start_copy(to, at, exists ? row + d : source.anywhere(), exists);
    } else {
      store_eight(to, at, eight_of(row, d, dim));
    }
  }
}
/// Of all threads of the block; what they read before may then be written again.
__device__ inline void rows_arrive() {
  copies_arrive();
  __syncthreads();
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

/// Columns of tiles n and n + 1 of d += left [16 kRowTiles, 16] times two fragments of 16 rows and 8 columns.
template <bool kBf16, int kRowTiles, int kTiles>
__device__ inline void multiply_pair(float (&d)[kRowTiles][kTiles][4], int n,
                                     const uint32_t (&left)[kRowTiles][4],
                                     const uint32_t (&right)[4]) {
  const uint32_t first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
    mma<kBf16>(d[m][n], left[m], first);
    mma<kBf16>(d[m][n + 1], left[m], second);
  }
}

/// d [16 kRowTiles, 8 kTiles] += rows from `first` on of a times all rows of b: both [., kDim + kPad].
template <bool kBf16, int kDim, int kRowTiles, int kTiles>
__device__ inline void multiply_rows(float (&d)[kRowTiles][kTiles][4], SharedArray<uint16_t> a,
                                     int first, SharedArray<uint16_t> b) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  constexpr int stride = kDim + kPad;
  const int a_at = (first + lane % 16) * stride + lane / 16 * 8;
  const int b_at = (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8;
#pragma unroll 4
  for (int k = 0; k < kDim; k += 16) {
    uint32_t left[kRowTiles][4];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) load_matrices(left[m], a, a_at + m * 16 * stride + k);
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      uint32_t right[4];
      load_matrices(right, b, b_at + n * 8 * stride + k);
      multiply_pair<kBf16, kRowTiles>(d, n, left, right);
    }
  }
}

/// d [16 kRowTiles, kDim] += weights [16 kRowTiles, 8 kTiles], rounded to 16 bits, times rows [8 kTiles, kDim + kPad].
template <bool kBf16, int kDim, int kRowTiles, int kTiles>
__device__ inline void multiply_weights(float (&d)[kRowTiles][kDim / 8][4],
                                        const float (&weights)[kRowTiles][kTiles][4],
                                        SharedArray<uint16_t> rows) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  constexpr int stride = kDim + kPad;
  const int rows_at = lane % 16 * stride + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTiles; k += 2) {
    uint32_t left[kRowTiles][4];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      const float(&w)[4] = weights[m][k], (&next)[4] = weights[m][k + 1];
      left[m][0] = rounded_pair<kBf16>(w[0], w[1]);
      left[m][1] = rounded_pair<kBf16>(w[2], w[3]);
      left[m][2] = rounded_pair<kBf16>(next[0], next[1]);
      left[m][3] = rounded_pair<kBf16>(next[2], next[3]);
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      uint32_t right[4];
      load_matrices_turned(right, rows, rows_at + k * 8 * stride + n * 8);
      multiply_pair<kBf16, kRowTiles>(d, n, left, right);
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
