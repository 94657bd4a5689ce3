// The matrix product under every linear op: packs both sides into panels, multiplies them tile by
// tile and deals the tiles out to threads. Internal to ops; models call ops/linear.h.
#pragma once

#include <cstdint>

#include "ops/linear.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// One side of a product: a grid of `outer` (A's rows or B's columns) by `depth` (the summed dim).
struct GemmSide {
  const void* data = nullptr;
  DType dtype = DType::f32;
  int64_t outer = 0, depth = 0;
  int64_t stride = 0;             // elements between two neighbours along the other dim
  bool depth_contiguous = false;  // element (o, k) is at o * stride + k; otherwise k * stride + o
};

/// A matrix whose rows are summed along (x and w of a forward product).
inline GemmSide sum_along_rows(ConstView m) {
  return {m.data, m.dtype, m.rows, m.cols, m.stride, true};
}
/// A matrix whose columns are summed along (both sides of a weight gradient).
inline GemmSide sum_along_columns(ConstView m) {
  return {m.data, m.dtype, m.cols, m.rows, m.stride, false};
}

/// c[m, n] = sum_k a(m, k) * b(n, k), or += with Into::add: the finished sum is added once.
///
/// Every element is one chain of fused multiply-adds in f32, k ascending from 0, whatever its place
/// in c, the sizes and the threads. Where both sides are bf16 and the level is avx512_bf16 the
/// links of the chain are pairs of k (vdpbf16ps: subnormal numbers count as 0, each pair is rounded
/// to nearest even).
/// c: f32, f16 or bf16, rounded once at the end. Shapes are the caller's promise.
void gemm(const GemmSide& a, const GemmSide& b, View c, Into into, ThreadPool& pool);

}  // namespace cria::ops
