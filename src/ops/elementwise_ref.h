// The plain versions of elementwise.h.
#pragma once

#include "tensor/tensor.h"

namespace cria::ops {

void convert_ref(ConstView from, View to);
void add_ref(View x, ConstView y);

}  // namespace cria::ops
