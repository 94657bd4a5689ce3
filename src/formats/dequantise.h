// Blocks of few bits, back to floats.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace cria {

/// out[i] = scale * q[i] (+ offset), with the scales and few-bit numbers of each block; the bits of
/// the result are those of llama.cpp's plain code (one product, one sum, each rounded to f32).
/// Products of int4_* and int8_* with scales from bf16 or f16 are exact.
///
///   blocks  whole blocks of a type that is_quantised(), any alignment
///   out     block_elements(dtype) floats for each block
///
/// A row of a tensor is a whole number of blocks, so any range of rows can be given. For plain types
/// as well use to_f32 (formats/element_cast.h). Source: docs/formats/gguf.md, "Blocks".
void dequantise(DType dtype, std::span<const std::byte> blocks, std::span<float> out);

}  // namespace cria
