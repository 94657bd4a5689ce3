// New tokens' keys and values into the caches that attention_cached() reads.
#pragma once

#include <cstdint>
#include <span>

#include "ops/attention.h"
#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// One sequence's new tokens and its cache.
struct NewRows {
  int64_t first_row = 0;  // the tokens are rows [first_row, first_row + count)
  int64_t count = 1;
  int64_t position = 0;  // of the first of them
  // [K * capacity, D], or rows of 8 bits (int8_rows.h); head g's row of a position is g * capacity + position
  View k, v;
  int64_t capacity = 0;
};

/// Rounds to each cache's dtype.
///   k, v [rows, K*D]  f32, f16 or bf16; windows of a packed q,k,v are fine
void append_to_caches(ConstView k, ConstView v, std::span<const NewRows> caches,
                      const HeadShape& shape, const Exec& exec);

}  // namespace cria::ops
