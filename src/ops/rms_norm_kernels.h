// Kernels of rms_norm.h: one row of n elements each. x_type, y_type, ... are f32, f16 or bf16; the
// norm's weight comes as f32.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

/// One token's row in backward.
struct RmsNormBackwardRow {
  const void* x;
  DType x_type;
  const void* dy;
  DType dy_type;
  void* dx;
  DType dx_type;
  const float* weight;
  float rstd;
  float* dweight;  // this block's sum, added to
  int64_t n;
};

struct RmsNormKernels {
  /// sum of x^2
  float (*sum_of_squares)(const void* x, DType x_type, int64_t n);
  /// x += branch; then the sum of the rounded x^2
  float (*add_sum_of_squares)(void* x, DType x_type, const void* branch, DType branch_type,
                              int64_t n);
  /// y = x * rstd * weight
  void (*scale)(const void* x, DType x_type, const float* weight, float rstd, void* y, DType y_type,
                int64_t n);
  void (*backward)(const RmsNormBackwardRow& row);
};
CRIA_KERNEL_TABLE(RmsNormKernels, rms_norm_kernels)

}  // namespace cria::ops
