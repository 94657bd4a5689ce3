// Rows of a table by token id, and the gradient that goes back to them.
#pragma once

#include <cstdint>
#include <span>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// out[t] = table[ids[t]].  table [V, hidden], out [tokens, hidden]; converts between dtypes.
/// A table that holds only the rows from first_row on of a vocabulary of total_rows (-1: V) gives
/// zeros for ids in other slices, so that the slices' outputs add up to the whole one's.
/// Throws UsageError for an id outside [0, total_rows).
void embedding(std::span<const int32_t> ids, ConstView table, View out, const Exec& exec,
               int64_t first_row = 0, int64_t total_rows = -1);

/// dtable[ids[t]] += dout[t]; tokens of one id are summed in f32 in token order, then added in one
/// addition. Skips ids in other slices of the vocabulary.
///   dout [tokens, hidden] f32, f16 or bf16; dtable [V, hidden] f32
/// Throws UsageError for an id outside [0, total_rows).
void embedding_backward(std::span<const int32_t> ids, ConstView dout, View dtable, const Exec& exec,
                        int64_t first_row = 0, int64_t total_rows = -1);

}  // namespace cria::ops
