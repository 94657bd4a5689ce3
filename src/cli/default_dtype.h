// What commands compute in where --dtype does not say.
#pragma once

#include <algorithm>
#include <span>

#include "base/cpu.h"
#include "tensor/dtype.h"

namespace cria::cli {

/// bf16 where the level in use multiplies it, else f32.
inline DType fastest_dtype() {
  return current_isa() == Isa::avx512_bf16 ? DType::bf16 : DType::f32;
}

/// f32 beside blocks of few bits, whose products are of whole numbers; else `plain`.
inline DType dtype_beside(std::span<const DType> weights, DType plain) {
  return std::ranges::any_of(weights, is_quantised) ? DType::f32 : plain;
}

}  // namespace cria::cli
