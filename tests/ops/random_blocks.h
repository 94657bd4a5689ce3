// Packed weights for tests, of every type of blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "ops/packed.h"

namespace cria::ops {

inline constexpr DType kBlocks[] = {
    DType::q4_0,      DType::q4_1,     DType::q5_0,     DType::q5_1,     DType::q8_0,
    DType::q4_k,      DType::q5_k,     DType::q6_k,     DType::int4_g32, DType::int4_g64,
    DType::int4_g128, DType::int8_g32, DType::int8_g64, DType::int8_g128};

/// Blocks of random bits, but with scales that are ordinary numbers: every bit pattern of the numbers occurs.
inline std::vector<std::byte> random_blocks(DType type, int64_t rows, int64_t cols, uint64_t seed) {
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(type, rows * cols)));
  uint64_t s = seed * 0x9e3779b97f4a7c15ull + 1;
  const auto next = [&] {
    s ^= s << 13;
    s ^= s >> 7;
    return s ^= s << 17;
  };
  for (std::byte& b : bytes) b = static_cast<std::byte>(next() >> 40);
  const auto set_half = [&](size_t at) {
    const f16 value(static_cast<float>(next() >> 40) / (1 << 25) - 0.1F);
    std::memcpy(&bytes[at], &value, 2);
  };
  const auto block = static_cast<size_t>(block_bytes(type));
  const bool second =
      type == DType::q4_1 || type == DType::q5_1 || type == DType::q4_k || type == DType::q5_k;
  for (size_t b = 0; b < bytes.size(); b += block) {
    if (is_int_group(type)) {
      const float value = static_cast<float>(next() >> 40) / (1 << 25) - 0.1F;
      std::memcpy(&bytes[b], &value, 4);
      continue;
    }
    set_half(b + (type == DType::q6_k ? 208 : 0));
    if (second) set_half(b + 2);
  }
  return bytes;
}

inline PackedMatrix packed(DType type, int64_t rows, int64_t cols, uint64_t seed,
                           Memory* memory = nullptr) {
  PackedMatrix m(type, rows, cols, memory);
  m.put_rows(0, random_blocks(type, rows, cols, seed));
  return m;
}

}  // namespace cria::ops
