// The gated activation of Llama's MLP.
#pragma once

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// out[t, i] = silu(gate[t, i]) * up[t, i],  silu(x) = x / (1 + exp(-x))
///   gate_up [tokens, 2F]: gate in columns [0, F), up in [F, 2F); out [tokens, F]; f32, f16 or bf16
/// Source: Shazeer, "GLU Variants Improve Transformer", 2020, eq. 6.
void swiglu(ConstView gate_up, View out, const Exec& exec);

/// d_gate_up[t] from dout[t]; may be the same memory as gate_up.
///   dgate = dout * up * s * (1 + gate * (1 - s)), dup = dout * gate * s,  s = sigmoid(gate)
void swiglu_backward(ConstView gate_up, ConstView dout, View d_gate_up, const Exec& exec);

}  // namespace cria::ops
