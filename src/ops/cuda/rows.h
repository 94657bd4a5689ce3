// How kernels read and write matrices of any dtype: eight numbers at a time, as f32. The dtype is looked at once for the eight,
// which costs nothing beside their load, so one kernel serves every mix of dtypes.
#pragma once

#include <cstdint>

#include "cuda_language.h"
#include "tensor/tensor.h"

namespace cria::cuda {

constexpr int kWarp = 32;

/// A View as a kernel takes it.
template <class Void>
struct BasicRows {
  Void* data;
  int64_t stride;
  DType type;
  bool wide;  // eight numbers from a column that is a multiple of 8 on are aligned to 16 bytes
  char no_gap[6] = {};  // equal ones have equal bytes (launches.h)
};
using Rows = BasicRows<void>;
using ConstRows = BasicRows<const void>;

template <class Void>
BasicRows<Void> rows_of(BasicView<Void> v) {
  const bool wide =
      reinterpret_cast<uintptr_t>(v.data) % 16 == 0 && (v.stride % 8 == 0 || v.rows <= 1);
  return {v.data, v.stride, v.dtype, wide, {}};
}

__device__ inline float bf16_value(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

/// Element at `index` of memory of a type.
__device__ inline float load_one(const void* data, DType type, int64_t index) {
  if (type == DType::f32) return static_cast<const float*>(data)[index];
  const uint16_t bits = static_cast<const uint16_t*>(data)[index];
  return type == DType::bf16 ? bf16_value(bits) : f16_value(bits);
}
__device__ inline void store_one(void* data, DType type, int64_t index, float value) {
  if (type == DType::f32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<uint16_t*>(data)[index] = type == DType::bf16 ? bf16_bits(value) : f16_bits(value);
  }
}

__device__ inline float half_of(uint32_t pair, int upper, DType type) {
  const auto bits = static_cast<uint16_t>(upper != 0 ? pair >> 16 : pair);
  return type == DType::bf16 ? bf16_value(bits) : f16_value(bits);
}
__device__ inline uint32_t pair_of(float lower, float upper, DType type) {
  return type == DType::bf16 ? static_cast<uint32_t>(bf16_bits(lower)) |
                                   static_cast<uint32_t>(bf16_bits(upper)) << 16
                             : static_cast<uint32_t>(f16_bits(lower)) |
                                   static_cast<uint32_t>(f16_bits(upper)) << 16;
}

/// x[0 .. 7] = row's columns col .. col + 7, col a multiple of 8; zeros from column `cols` on.
template <class Void>
__device__ inline void load8(const BasicRows<Void>& r, int64_t row, int64_t col, int64_t cols,
                             float (&x)[8]) {
  const int64_t at = row * r.stride + col;
  if (!r.wide || col + 8 > cols) {
    for (int i = 0; i < 8; ++i) x[i] = col + i < cols ? load_one(r.data, r.type, at + i) : 0.0f;
  } else if (r.type == DType::f32) {
    const auto* four = reinterpret_cast<const float4*>(static_cast<const float*>(r.data) + at);
    const float4 lower = four[0], upper = four[1];
    x[0] = lower.x, x[1] = lower.y, x[2] = lower.z, x[3] = lower.w;
    x[4] = upper.x, x[5] = upper.y, x[6] = upper.z, x[7] = upper.w;
  } else {
    const uint4 all = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(r.data) + at);
    const uint32_t pairs[4] = {all.x, all.y, all.z, all.w};
    for (int i = 0; i < 8; ++i) x[i] = half_of(pairs[i / 2], i % 2, r.type);
  }
}

/// The same columns = x, rounded to nearest even; nothing from column `cols` on.
__device__ inline void store8(const Rows& r, int64_t row, int64_t col, int64_t cols,
                              const float (&x)[8]) {
  const int64_t at = row * r.stride + col;
  if (!r.wide || col + 8 > cols) {
    for (int i = 0; i < 8; ++i) {
      if (col + i < cols) store_one(r.data, r.type, at + i, x[i]);
    }
  } else if (r.type == DType::f32) {
    auto* four = reinterpret_cast<float4*>(static_cast<float*>(r.data) + at);
    four[0] = make_float4(x[0], x[1], x[2], x[3]);
    four[1] = make_float4(x[4], x[5], x[6], x[7]);
  } else {
    *reinterpret_cast<uint4*>(static_cast<uint16_t*>(r.data) + at) =
        make_uint4(pair_of(x[0], x[1], r.type), pair_of(x[2], x[3], r.type),
                   pair_of(x[4], x[5], r.type), pair_of(x[6], x[7], r.type));
  }
}

/// x rounded to a type and back.
__device__ inline float rounded(float x, DType type) {
  if (type == DType::bf16) return bf16_value(bf16_bits(x));
  if (type == DType::f16) return f16_value(f16_bits(x));
  return x;
}

}  // namespace cria::cuda
