// Random matrices for tests of products: any dtype, any stride, repeatable.
#pragma once

#include <cstring>

#include "base/error.h"
#include "tensor/tensor.h"

namespace cria::ops {

inline float number_at(ConstView m, int64_t r, int64_t c) {
  switch (m.dtype) {
    case DType::bf16:
      return static_cast<float>(m.row<bf16>(r)[static_cast<size_t>(c)]);
    case DType::f16:
      return static_cast<float>(m.row<f16>(r)[static_cast<size_t>(c)]);
    default:
      return m.row<float>(r)[static_cast<size_t>(c)];
  }
}

inline void set_number(View m, int64_t r, int64_t c, float value) {
  switch (m.dtype) {
    case DType::bf16:
      m.row<bf16>(r)[static_cast<size_t>(c)] = bf16(value);
      return;
    case DType::f16:
      m.row<f16>(r)[static_cast<size_t>(c)] = f16(value);
      return;
    default:
      m.row<float>(r)[static_cast<size_t>(c)] = value;
  }
}

/// Uniform in [-1, 1), from a small generator of its own, so that every run sees the same numbers.
inline void fill_random(View m, uint64_t seed) {
  uint64_t s = seed * 0x9e3779b97f4a7c15ull + 1;
  for (int64_t r = 0; r < m.rows; ++r) {
    for (int64_t c = 0; c < m.cols; ++c) {
      s ^= s << 13;
      s ^= s >> 7;
      s ^= s << 17;
      set_number(m, r, c, static_cast<float>(static_cast<int64_t>(s >> 40)) / (1 << 23) - 1.0f);
    }
  }
}

inline Tensor random_matrix(DType dtype, int64_t rows, int64_t cols, uint64_t seed) {
  Tensor t(dtype, rows, cols);
  fill_random(t, seed);
  return t;
}

/// Bit for bit.
inline bool same_bits(ConstView a, ConstView b) {
  check(a.dtype == b.dtype && a.rows == b.rows && a.cols == b.cols, "the same shape");
  for (int64_t r = 0; r < a.rows; ++r) {
    const auto bytes = static_cast<size_t>(bytes_of(a.dtype, a.cols));
    if (bytes > 0 && std::memcmp(a.at(r, 0), b.at(r, 0), bytes) != 0) return false;
  }
  return true;
}

}  // namespace cria::ops
