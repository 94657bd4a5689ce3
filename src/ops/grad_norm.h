// The global gradient norm.
#pragma once

#include <span>

#include "base/exact_sum.h"
#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// Adds the squares of all elements of all xs: each row's sum in f64, then exactly, so that how the rows were
/// split over calls, threads or processes does not change sum.value(). Each f32 [rows, cols]. NaN or
/// infinity in, NaN or infinity out.
void add_squared_norm(std::span<const ConstView> xs, ExactSum& sum, const Exec& exec);
inline void add_squared_norm(ConstView x, ExactSum& sum, const Exec& exec) {
  add_squared_norm(std::span(&x, 1), sum, exec);
}

}  // namespace cria::ops
