// The plain versions of swiglu.h.
#pragma once

#include "tensor/tensor.h"

namespace cria::ops {

void swiglu_ref(ConstView gate_up, View out);
void swiglu_backward_ref(ConstView gate_up, ConstView dout, View d_gate_up);

}  // namespace cria::ops
