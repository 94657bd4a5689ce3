// Rows of a table by token id, and the gradient that goes back to them.
#pragma once

#include <cstdint>
#include <span>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// out[t] = table[ids[t]].  table [V, hidden], out [tokens, hidden]; converts between dtypes.
/// Throws UsageError for an id outside [0, V).
void embedding(std::span<const int32_t> ids, ConstView table, View out, const Exec& exec);

/// dtable[ids[t]] += dout[t]; tokens of one id are summed in f32 in token order, then added.
///   dout [tokens, hidden] f32, f16 or bf16; dtable [V, hidden] f32
/// Throws UsageError for an id outside [0, V).
void embedding_backward(std::span<const int32_t> ids, ConstView dout, View dtable,
                        const Exec& exec);

}  // namespace cria::ops
