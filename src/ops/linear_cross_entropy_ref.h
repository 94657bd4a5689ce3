// The plain version of linear_cross_entropy.h.
#pragma once

#include "ops/linear_cross_entropy.h"

namespace cria::ops {

void linear_cross_entropy_ref(ConstView x, ConstView w, std::span<const int32_t> targets,
                              std::span<float> token_loss, const HeadGradients& gradients,
                              const VocabSplit* split);

}  // namespace cria::ops
