// Kernels of rope.h.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

struct RopeKernels {
  /// One token: `heads` heads of 2 * half elements, side by side. sign +1 forward, -1 backward.
  void (*token)(void* x, DType dtype, int64_t heads, int64_t half, const float* cosines,
                const float* sines, float sign);
};
CRIA_KERNEL_TABLE(RopeKernels, rope_kernels)

}  // namespace cria::ops
