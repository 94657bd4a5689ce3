// The plain version of rope.h.
#pragma once

#include "ops/rope.h"

namespace cria::ops {

void rope_ref(View x, std::span<const int32_t> positions, const RopeTable& table, Turn turn);

}  // namespace cria::ops
