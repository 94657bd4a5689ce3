// Kernels of adamw.h: n elements side by side.
#pragma once

#include <cstdint>

#include "ops/adamw_factors.h"
#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

/// A run of one parameter; low and master as in AdamWParam, nullptr for none.
struct AdamWRun {
  void* weight;
  DType weight_type;
  int16_t* low;
  float* master;
  const float* grad;
  float *m, *v;
  int64_t n;
};

struct AdamWKernels {
  void (*step)(const AdamWRun& run, const AdamWFactors& factors);
  void (*split)(const float* f32, bf16* weight, int16_t* low, int64_t n);
  void (*join)(const bf16* weight, const int16_t* low, float* f32, int64_t n);
};
CRIA_KERNEL_TABLE(AdamWKernels, adamw_kernels)

}  // namespace cria::ops
