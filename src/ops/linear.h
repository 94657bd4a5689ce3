// Matrix products of a linear layer without bias: forward, input gradient and weight gradient, each
// on its own so that a schedule may delay weight gradients.
#pragma once

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

// T tokens, I inputs, O outputs. Every operand may be f32, f16 or bf16, in any mix; products are
// summed in f32 in one fixed order over the summed dim that depends neither on threads nor on how
// many other rows there are: a row's result is the same bits alone and in any batch. On a GPU that holds for linear_decode();
// the other products are cuBLASLt's, with the same bits for the same shape.

enum class Into { write, add };  // y = ... or y += ...

/// y[t, o] = sum_i x[t, i] * w[o, i]
///   x [T, I], w [O, I], y [T, O]; y overlaps no input. Into::add adds the finished product.
void linear(ConstView x, ConstView w, View y, const Exec& exec, Into into = Into::write);

/// dx[t, i] = sum_o dy[t, o] * w[o, i]
///   dy [T, O], w [O, I], dx [T, I]
void linear_input_grad(ConstView dy, ConstView w, View dx, const Exec& exec,
                       Into into = Into::write);

/// dw[o, i] = sum_t dy[t, o] * x[t, i]; with Into::add the sum over all T is finished before it is
/// added, so that accumulating micro batches adds the same terms as summing over data-parallel
/// ranks.
///   dy [T, O], x [T, I], dw [O, I]
void linear_weight_grad(ConstView dy, ConstView x, View dw, const Exec& exec,
                        Into into = Into::write);

/// The same as linear() for the few rows of a decode step: streams w once at the memory's speed and
/// reads nothing else twice. Its order of summation differs from linear()'s, but a row's bits are
/// again the same alone and in any batch.
void linear_decode(ConstView x, ConstView w, View y, const Exec& exec, Into into = Into::write);

}  // namespace cria::ops
