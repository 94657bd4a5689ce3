// How kernels read rows of 8 bits (ops/int8_rows.h).
#pragma once

#include <cstdint>

#include "ops/cuda/rows.h"
#include "ops/int8_rows.h"

namespace cria::cuda {

/// Bytes of the numbers, before the scales.
__device__ inline int padded(int dim) { return (dim + 1) / 2 * 2; }

/// Number d of a row.
__device__ inline float int8_row_number(const int8_t* row, int d, int dim) {
  const auto* const scales = reinterpret_cast<const uint16_t*>(row + padded(dim));
  return static_cast<float>(row[d]) * f16_value(scales[d / ops::kInt8Group]);
}

}  // namespace cria::cuda
