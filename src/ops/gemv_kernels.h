// What linear_decode asks of each instruction-set level.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

/// Dot products of prepared rows of x with rows of w, which are contiguous along the summed dim.
struct GemvJob {
  const float* x = nullptr;
  int64_t x_stride = 0;  // floats between prepared rows
  int64_t x_rows = 0;
  DType x_dtype = DType::f32;  // before it was prepared
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
  /// The lanes of two vectors sum a fixed choice of k each, in order; then they are added in a
  /// fixed order. The choice depends on the level and the dtypes of x and w.
  void (*dots)(const GemvJob&);
  /// Floats that a prepared row takes.
  int64_t (*prepared_floats)(DType x, DType w, int64_t depth);
  /// Writes a row of x in the order and type that dots() reads it for such w, padded with 0.
  void (*prepare)(const void* from, DType x, DType w, int64_t depth, float* to);
};
CRIA_KERNEL_TABLE(GemvKernels, gemv_kernels)

}  // namespace cria::ops
