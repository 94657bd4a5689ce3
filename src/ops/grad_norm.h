// The global gradient norm.
#pragma once

#include "base/exact_sum.h"
#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// sum of squares of all elements: in f64 per row, rows added in order. x f32 [rows, cols]. NaN or
/// infinity in, NaN or infinity out.
double squared_norm(ConstView x, const Exec& exec);

/// The same into an exact sum: the rows' sums in f64, added without rounding, so that rows may be anywhere.
void add_squared_norm(ConstView x, ExactSum& sum, const Exec& exec);

}  // namespace cria::ops
