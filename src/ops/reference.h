// Element access for the plain versions of the ops (*_ref.cc): any dtype as double, slow and
// obvious.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace cria::ops {

inline double get(ConstView v, int64_t row, int64_t col) {
  const void* p = v.at(row, col);
  switch (v.dtype) {
    case DType::f16:
      return static_cast<float>(*static_cast<const f16*>(p));
    case DType::bf16:
      return static_cast<float>(*static_cast<const bf16*>(p));
    default:
      return *static_cast<const float*>(p);
  }
}

/// Rounds to f32 and from there to the view's dtype, as the kernels do.
inline void set(View v, int64_t row, int64_t col, double value) {
  void* p = v.at(row, col);
  const auto rounded = static_cast<float>(value);
  switch (v.dtype) {
    case DType::f16:
      *static_cast<f16*>(p) = f16(rounded);
      break;
    case DType::bf16:
      *static_cast<bf16*>(p) = bf16(rounded);
      break;
    default:
      *static_cast<float*>(p) = rounded;
  }
}

}  // namespace cria::ops
