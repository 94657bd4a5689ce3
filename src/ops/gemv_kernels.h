// What linear_decode asks of each instruction-set level.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

/// Dot products of rows of x with rows of w, both contiguous along the summed dim.
struct GemvJob {
  const float* x = nullptr;
  int64_t x_stride = 0;
  int64_t x_rows = 0;
  const void* w = nullptr;
  DType w_dtype = DType::f32;
  int64_t w_stride = 0;
  int64_t w_rows = 0;
  int64_t depth = 0;
  void* y = nullptr;  // y[t * y_stride + o], or += with `add`
  DType y_dtype = DType::f32;
  int64_t y_stride = 0;
  bool add = false;
};

struct GemvKernels {
  /// Lane l of a dot product sums k = l, l + lanes, ... in order; then the lanes are added in a
  /// fixed order.
  void (*dots)(const GemvJob&);
  /// to[i] = from[i] as f32
  void (*widen)(const void* from, DType dtype, int64_t count, float* to);
};
CRIA_KERNEL_TABLE(GemvKernels, gemv_kernels)

}  // namespace cria::ops
