// The plain version of linear_packed. Internal to ops.
#pragma once

#include "ops/packed.h"

namespace cria::ops {

/// The same arithmetic number by number: bit for bit what the kernels give for weights in blocks.
void linear_packed_ref(ConstView x, const PackedMatrix& w, View y, Into into);

}  // namespace cria::ops
