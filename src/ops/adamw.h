// Adam with decoupled weight decay, in f32 whatever the weights are stored in.
#pragma once

#include <cstdint>
#include <span>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

struct AdamWStep {
  float lr = 0, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
  float weight_decay = 0;       // of parameters that decay
  bool bias_correction = true;  // false: the recipe's FP32StateAdamWeightDecay
  int64_t step = 1;             // this step's number, from 1; used by bias correction only
  float grad_scale = 1;         // multiplies every gradient: unscaling and clipping in one factor
};

/// One parameter's memory; all Views have the same shape. An empty View (no data) is "none".
///   weight f32                           the master is the weight itself
///   weight bf16, low i16                 exact f32 master = weight's bits << 16, plus low
///   weight f16 or bf16, master f32       the weight is the rounded master
///   weight f16 or bf16, neither          the recipe's rule: no master, each step is rounded to the
///                                        weight's dtype and may be lost
///   grad, m, v f32
struct AdamWParam {
  View weight, low, master;
  ConstView grad;
  View m, v;
  bool decays = true;
};

///   g = grad * grad_scale;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
///   with bias correction: m' = m / (1 - b1^step), v' = v / (1 - b2^step); otherwise m' = m, v' = v
///   w = w - lr * (m' / (sqrt(v') + eps) + weight_decay * w)
/// for every parameter. Elementwise in f32, the corrections in double. Throws UsageError when shapes or dtypes disagree.
/// Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2.
void adamw(std::span<const AdamWParam> params, const AdamWStep& step, const Exec& exec);
inline void adamw(const AdamWParam& param, const AdamWStep& step, const Exec& exec) {
  adamw(std::span(&param, 1), step, exec);
}

/// The exact master of a bf16 weight: the f32 is rounded half up in magnitude to bf16 and the
/// signed difference of the bit patterns, which always fits in 16 bits, is kept beside it. Every
/// bit pattern is restored, NaN too (though the bf16 alone may then not be a NaN).
void split_master(ConstView f32, View weight, View low, const Exec& exec);
void join_master(ConstView weight, ConstView low, View f32, const Exec& exec);

}  // namespace cria::ops
