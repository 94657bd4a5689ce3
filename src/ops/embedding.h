// Rows of a table by token id, and the gradient that goes back to them.
#pragma once

#include <cstdint>
#include <span>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// Which rows of a vocabulary a table holds: [first_row, first_row + table.rows) of total_rows.
struct VocabRows {
  int64_t first_row = 0;
  int64_t total_rows = -1;  // -1: the table is the whole vocabulary
};

/// out[t] = table[ids[t]].  table [V, hidden], out [tokens, hidden]; converts between dtypes. Rows of ids that a part of a
/// vocabulary does not hold are zero: the parts' outputs add up to the whole table's.
/// Throws UsageError for an id outside the vocabulary.
void embedding(std::span<const int32_t> ids, ConstView table, View out, const Exec& exec,
               const VocabRows& held = {});

/// dtable[ids[t]] += dout[t]; tokens of one id are summed in f32 in token order, then added. Ids that a part of a vocabulary
/// does not hold are passed over.
///   dout [tokens, hidden] f32, f16 or bf16; dtable [V, hidden] f32
/// Throws UsageError for an id outside the vocabulary.
void embedding_backward(std::span<const int32_t> ids, ConstView dout, View dtable, const Exec& exec,
                        const VocabRows& held = {});

}  // namespace cria::ops
