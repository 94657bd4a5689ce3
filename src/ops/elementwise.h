// Copies with conversion, and sums.
#pragma once

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// to = from, rounded to nearest even where it narrows. Same shapes; f32, f16 and bf16 in any mix.
void convert(ConstView from, View to, const Exec& exec);
/// x += y, in f32, rounded to x's dtype.
void add(View x, ConstView y, const Exec& exec);
/// Every element 0.
void fill_zero(View x, const Exec& exec);

}  // namespace cria::ops
