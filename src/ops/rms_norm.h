// Root-mean-square normalisation, alone and fused with the residual addition before it.
#pragma once

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// y[t, i] = x[t, i] * rstd[t] * weight[i],  rstd[t] = 1 / sqrt(mean_j(x[t, j]^2) + eps)
///
///   x, y    [tokens, hidden]  f32, f16 or bf16; may be the same memory
///   weight  [1, hidden]       f32, f16 or bf16
///   rstd    [1, tokens] f32, or an empty View when backward is not needed
///   eps     added to the mean square; Llama 3 uses 1e-5
///
/// Sums in f32 whatever the dtype; the same bits on every run.
/// Source: Zhang & Sennrich, "Root Mean Square Layer Normalization", 2019, eq. 4.
void rms_norm(ConstView x, ConstView weight, float eps, View y, View rstd, const Exec& exec);

/// x += branch, then y = rms_norm(x): one pass over memory. x is rounded to its dtype before it is
/// normalised.
void add_rms_norm(View x, ConstView branch, ConstView weight, float eps, View y, View rstd,
                  const Exec& exec);

/// Given dy = dL/dy:
///   dx[t, i]   += rstd[t] * (dy[t, i] * weight[i]
///                            - x[t, i] * rstd[t]^2 * mean_j(dy[t, j] * weight[j] * x[t, j]))
///   dweight[i] += sum_t dy[t, i] * x[t, i] * rstd[t]
///
///   x, dy    [tokens, hidden]  f32, f16 or bf16; x is what forward normalised
///   rstd     [1, tokens] f32   forward's
///   dx       [tokens, hidden]  f32, f16 or bf16; holds the gradient that comes along the residual
///   dweight  [1, hidden] f32   the sum over all tokens is finished, then added
void rms_norm_backward(ConstView x, ConstView weight, ConstView rstd, ConstView dy, View dx,
                       View dweight, const Exec& exec);

}  // namespace cria::ops
