// The plain version of grad_norm.h.
#pragma once

#include "tensor/tensor.h"

namespace cria::ops {

double squared_norm_ref(ConstView x);

}  // namespace cria::ops
