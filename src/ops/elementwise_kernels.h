// Kernels of elementwise.h: `n` elements side by side; dtypes f32, f16 or bf16.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

struct ElementwiseKernels {
  void (*convert)(const void* from, DType from_type, void* to, DType to_type, int64_t n);
  void (*add)(void* x, DType x_type, const void* y, DType y_type, int64_t n);
};
CRIA_KERNEL_TABLE(ElementwiseKernels, elementwise_kernels)

}  // namespace cria::ops
