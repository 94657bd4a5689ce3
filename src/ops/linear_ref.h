// The plain matrix product: the oracle of the tests.
#pragma once

#include "ops/gemm.h"

namespace cria::ops {

/// The same contract as gemm(), summed in f64.
void gemm_ref(const GemmSide& a, const GemmSide& b, View c, Into into);

}  // namespace cria::ops
