// How kernels read rows of 8 bits (ops/int8_rows.h).
#pragma once

#include <cstdint>

#include "ops/cuda/reduce.h"
#include "ops/int8_rows.h"

namespace cria::cuda {

/// Bytes of the numbers, before the scales.
__device__ inline int padded(int dim) { return (dim + 1) / 2 * 2; }

/// A warp rounds group `group` of a row, of which each lane has one number (0 beyond the row's end).
__device__ inline void round_int8_group(float x, int group, int lane, int dim, int8_t* row) {
  const float largest = warp_max(fabsf(x));
  const float bad = warp_max(x - x == 0 ? 0.0f : 1.0f);
  const uint16_t scale_bits = f16_bits(largest / 127.0f);
  const float scale = f16_value(scale_bits);
  const bool fits = bad == 0 && scale - scale == 0;
  const int d = group * kWarp + lane;
  if (d < dim) {
    const float n = fits && scale > 0 ? rintf(x / scale) : 0.0f;
    row[d] = static_cast<int8_t>(fminf(fmaxf(n, -127.0f), 127.0f));
  }
  constexpr uint16_t nan = 0x7e00;
  if (lane == 0) reinterpret_cast<uint16_t*>(row + padded(dim))[group] = fits ? scale_bits : nan;
}

/// Number d of a row.
__device__ inline float int8_row_number(const int8_t* row, int d, int dim) {
  const auto* const scales = reinterpret_cast<const uint16_t*>(row + padded(dim));
  return static_cast<float>(row[d]) * f16_value(scales[d / ops::kInt8Group]);
}

}  // namespace cria::cuda
