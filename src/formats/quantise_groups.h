// The kinds of quantise.h that other programs' int4 and int8 weights have: a group of numbers and its scale, nothing else.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace cria::quantising {

/// `to` is_int_group(); `row` whole groups, `importance` empty or as long, each to be multiplied by `factor`. Scales are searched
/// and are numbers that a bf16 holds, since the programs that read them keep them in the type of the model.
void quantise_groups(DType to, std::span<const float> row, std::span<const float> importance,
                     float factor, std::span<std::byte> out);

}  // namespace cria::quantising
