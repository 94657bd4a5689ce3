// Kernel of grad_norm.h.
#pragma once

#include <cstdint>

#include "ops/isa.h"

namespace cria::ops {

struct GradNormKernels {
  /// sum of x^2 over n elements, in f64
  double (*sum_of_squares)(const float* x, int64_t n);
};
CRIA_KERNEL_TABLE(GradNormKernels, grad_norm_kernels)

}  // namespace cria::ops
