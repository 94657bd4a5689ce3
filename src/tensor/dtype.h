// Element types of tensors, and the two 16-bit floats as C++ types.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace cria {

/// The first group can be computed with; the second is stored only; the third is blocks: GGUF's, then whole numbers of 4 or 8 bits
/// with a scale for each 32, 64 or 128.
enum class DType : uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  boolean,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q4_k,
  q5_k,
  q6_k,
  int4_g32,
  int4_g64,
  int4_g128,
  int8_g32,
  int8_g64,
  int8_g128,
};

/// Elements per block (1 for plain types) and bytes per block.
int64_t block_elements(DType dtype);
int64_t block_bytes(DType dtype);
inline bool is_quantised(DType dtype) { return dtype >= DType::q4_0; }
/// int4_* and int8_*, which no GGUF has.
inline bool is_int_group(DType dtype) { return dtype >= DType::int4_g32; }
/// The one of them of 4 or 8 bits in groups of 32, 64 or 128; nothing for others.
std::optional<DType> int_group_type(int64_t bits, int64_t group);
inline bool is_float(DType dtype) { return dtype <= DType::f64; }
/// Bytes of `count` elements; count must be a multiple of the block.
inline int64_t bytes_of(DType dtype, int64_t count) {
  return count / block_elements(dtype) * block_bytes(dtype);
}
/// "F32", "BF16", "Q4_K": safetensors' spelling, and GGUF's for blocks; "INT4_G128".
std::string_view name_of(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);

/// The upper half of an f32. Conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  uint16_t bits = 0;
  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<uint32_t>(value);
    if ((u & 0x7fffffff) > 0x7f800000) {
      bits = static_cast<uint16_t>(u >> 16 | 0x40);
    } else {
      bits = static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
    }
  }
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

/// IEEE half. Conversion rounds to nearest even; overflow becomes infinity.
struct f16 {
  uint16_t bits = 0;
  f16() = default;
  explicit f16(float value) : bits(std::bit_cast<uint16_t>(static_cast<_Float16>(value))) {}
  explicit operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};

template <class T>
inline constexpr DType dtype_of = DType::u8;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<f16> = DType::f16;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;

}  // namespace cria
