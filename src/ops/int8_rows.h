// Rows of numbers in 8 bits, as caches may keep keys and values: half of what bf16 takes.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace cria::ops {

/// Numbers that share a scale; the last ones of a row may be fewer.
constexpr int64_t kInt8Group = 32;

/// Bytes of a row of `dim` numbers: the numbers, i8, padded to an even count, and behind them an f16 scale for each group.
constexpr int64_t int8_row_bytes(int64_t dim) {
  return (dim + 1) / 2 * 2 + (dim + kInt8Group - 1) / kInt8Group * 2;
}

/// Rounds every group to whole numbers from -127 to 127, halves to even, of a scale: its largest magnitude / 127 as f16. A
/// group whose scale is below f16's smallest becomes 0. What is not finite, or beyond f16, makes its whole group NaN.
/// In the host's memory.
///   x [rows, dim]  f32, f16 or bf16;  to [rows, int8_row_bytes(dim)]  i8
void round_to_int8(ConstView x, View to);

/// The numbers that a row stands for: whole number * scale.
///   from [1, int8_row_bytes(dim)] i8;  to: dim numbers
void open_int8_row(ConstView from, int64_t dim, float* to);

}  // namespace cria::ops
