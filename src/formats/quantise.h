// Floats to blocks of few bits: the way back of dequantise.h.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace cria {

/// Chooses each block's scales, offsets and few-bit numbers so that the sum of importance * (x - y)^2 is small, y being what
/// dequantise() makes of the block. q8_0 is not searched: it has the bits of llama.cpp's plain code.
/// Scales of int4_* and int8_* are numbers that a bf16 holds, and may be negative.
///
///   to          a type that is_quantised()
///   row         whole blocks of finite numbers; of one row or, without importance, of several
///   out         exactly their blocks, any alignment
///   importance  nothing: all alike; else one weight for each number of row, finite and not negative
///               (llama.cpp's imatrix). A group of numbers that all weigh 0 counts as all alike.
///               q8_0 does not use it.
///
/// The same bits on every processor. Every block of q4_0 to q5_1, int4_* and int8_* has at most the error
/// of llama.cpp's plain choice for that block (the greatest magnitude on the lowest number). How blocks are searched: docs/formats/gguf.md, "How blocks are chosen".
void quantise(DType to, std::span<const float> row, std::span<std::byte> out,
              std::span<const float> importance = {});

}  // namespace cria
