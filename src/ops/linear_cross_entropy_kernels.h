// Kernels of linear_cross_entropy.h.
#pragma once

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

namespace cria::ops {

struct LinearCrossEntropyKernels {
  /// Loss of one row of logits. With `gradient` the row becomes (softmax - onehot) * scale. The row
  /// is f32, or bf16 throughout; `round_to_f16` rounds f32 logits to f16 first.
  float (*row)(void* logits, DType dtype, bool round_to_f16, int64_t vocab, int64_t target,
               bool gradient, float scale);

  // The same in steps, for a row of which other ranks hold the rest.
  /// The largest logit (rounded to f16 first, in place, when asked).
  float (*row_max)(void* logits, DType dtype, bool round_to_f16, int64_t vocab);
  /// sum of exp(logit - most)
  float (*row_sum)(const void* logits, DType dtype, int64_t vocab, float most);
  /// The row becomes exp(logit - most) * scale / sum, minus scale at `target` unless that is negative. Returns nothing.
  void (*row_gradient)(void* logits, DType dtype, int64_t vocab, float most, float sum,
                       int64_t target, float scale);
};
CRIA_KERNEL_TABLE(LinearCrossEntropyKernels, linear_cross_entropy_kernels)

}  // namespace cria::ops
