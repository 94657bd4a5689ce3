// The global gradient norm.
#pragma once

#include "base/exact_sum.h"
#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// sum of squares of all elements: in f64 per row, rows added in order. x f32 [rows, cols]. NaN or
/// infinity in, NaN or infinity out.
double squared_norm(ConstView x, const Exec& exec);

/// The same, each row's f64 sum added exactly: how the rows were split over calls, threads or
/// processes does not change sum.value().
void add_squared_norm(ConstView x, ExactSum& sum, const Exec& exec);

}  // namespace cria::ops
