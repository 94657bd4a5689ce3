// Kernels of swiglu.h: one row of n elements each; dtypes f32, f16 or bf16.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

struct SwigluKernels {
  /// out = silu(gate) * up
  void (*forward)(const void* gate, const void* up, DType type, void* out, DType out_type,
                  int64_t n);
  /// dgate and dup may be gate and up.
  void (*backward)(const void* gate, const void* up, DType type, const void* dout, DType dout_type,
                   void* dgate, void* dup, DType d_type, int64_t n);
};
CRIA_KERNEL_TABLE(SwigluKernels, swiglu_kernels)

}  // namespace cria::ops
