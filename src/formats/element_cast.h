// Elements of files to f32 and back: the one place where numbers change their type on the way in or
// out.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace cria {

/// True where to_f32 can read the type: floats and GGUF's blocks.
inline bool is_real(DType dtype) { return is_float(dtype) || is_quantised(dtype); }

/// Widens (f64: rounds to nearest even) out.size() elements; `bytes` is exactly those elements,
/// little-endian, any alignment. Throws UsageError for integers and booleans.
void to_f32(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

/// Rounds to nearest even; too large for f16 becomes infinity, NaN stays NaN. `out` holds exactly
/// those elements, any alignment. dtype is f32, f16, bf16 or f64; else UsageError.
void from_f32(std::span<const float> values, DType dtype, std::span<std::byte> out);

}  // namespace cria
