// The plain versions of rms_norm.h.
#pragma once

#include "tensor/tensor.h"

namespace cria::ops {

void rms_norm_ref(ConstView x, ConstView weight, double eps, View y, View rstd);
void rms_norm_backward_ref(ConstView x, ConstView weight, ConstView rstd, ConstView dy, View dx,
                           View dweight);

}  // namespace cria::ops
