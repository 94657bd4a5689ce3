// New tokens' keys and values into the caches that attention_cached() reads.
#pragma once

#include <cstdint>
#include <span>

#include "ops/attention.h"
#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// Rows [first_row, first_row + count) of k and v go to the sequence's positions from first_position on, rounded to its caches' dtype.
///   k, v [rows, K*D]  f32, f16 or bf16; windows of a packed q,k,v are fine
void append_to_caches(ConstView k, ConstView v, std::span<const CachedSequence> sequences,
                      const HeadShape& shape, const Exec& exec);

}  // namespace cria::ops
