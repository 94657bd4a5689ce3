// Sums of what several ranks have, in their order.
#pragma once

#include <span>

#include "tensor/tensor.h"

namespace cria {

/// out = ((terms[0] + terms[1]) + terms[2]) + ..., element by element. Shapes and dtypes agree; out may be one of the terms.
/// f32, f64 and i64 in their own type; f16 and bf16 in f32, rounded once.
void sum_in_order(std::span<const ConstView> terms, View out);

}  // namespace cria
