// The plain version of grad_norm.h.
#pragma once

#include <vector>

#include "tensor/tensor.h"

namespace cria::ops {

/// Each row's sum of squares.
std::vector<double> row_norms_ref(ConstView x);

}  // namespace cria::ops
