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

  /// The same in three steps, between which ranks that each hold a slice of the row can talk:
  /// its largest logit (after rounding), the sum of exp(logit - most), and the gradient, where
  /// most and sum are the whole row's and target is -1 when another slice has it.
  float (*largest)(void* logits, DType dtype, bool round_to_f16, int64_t vocab);
  float (*sum_of_exp)(const void* logits, DType dtype, int64_t vocab, float most);
  void (*gradient)(void* logits, DType dtype, int64_t vocab, float most, float sum, int64_t target,
                   float scale);
};
CRIA_KERNEL_TABLE(LinearCrossEntropyKernels, linear_cross_entropy_kernels)

}  // namespace cria::ops
