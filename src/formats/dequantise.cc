#include "formats/dequantise.h"

#include <array>
#include <cstring>

#include "base/error.h"

// Each block is copied into a struct of its layout and unpacked by loops of constant length, which
// the compiler turns into vector code. Names: d scale, m (or dmin) offset, qs low bits, qh high bits.
namespace cria {
namespace {

struct Q4_0 {
  static constexpr size_t kElements = 32;
  f16 d;
  std::array<uint8_t, 16> qs;
  void unpack(float* y) const {
    const auto scale = static_cast<float>(d);
#pragma omp simd
    for (size_t i = 0; i < 16; ++i) {
      y[i] = scale * static_cast<float>((qs[i] & 15) - 8);
      y[i + 16] = scale * static_cast<float>((qs[i] >> 4) - 8);
    }
  }
};

struct Q4_1 {
  static constexpr size_t kElements = 32;
  f16 d, m;
  std::array<uint8_t, 16> qs;
  void unpack(float* y) const {
    const auto scale = static_cast<float>(d);
    const auto offset = static_cast<float>(m);
#pragma omp simd
    for (size_t i = 0; i < 16; ++i) {
      y[i] = scale * static_cast<float>(qs[i] & 15) + offset;
      y[i + 16] = scale * static_cast<float>(qs[i] >> 4) + offset;
    }
  }
};

// The 32 fifth bits, one bit an element, as 0 or 16.
std::array<uint8_t, 32> fifth_bits(const std::array<uint8_t, 4>& qh) {
  uint32_t bits = 0;
  std::memcpy(&bits, qh.data(), 4);
  std::array<uint8_t, 32> high;
  for (uint32_t i = 0; i < 32; ++i) high[i] = static_cast<uint8_t>((bits >> i & 1) << 4);
  return high;
}

struct Q5_0 {
  static constexpr size_t kElements = 32;
  f16 d;
  std::array<uint8_t, 4> qh;
  std::array<uint8_t, 16> qs;
  void unpack(float* y) const {
    const auto scale = static_cast<float>(d);
    const auto high = fifth_bits(qh);
#pragma omp simd
    for (size_t i = 0; i < 16; ++i) {
      y[i] = scale * static_cast<float>(((qs[i] & 15) | high[i]) - 16);
      y[i + 16] = scale * static_cast<float>(((qs[i] >> 4) | high[i + 16]) - 16);
    }
  }
};

struct Q5_1 {
  static constexpr size_t kElements = 32;
  f16 d, m;
  std::array<uint8_t, 4> qh;
  std::array<uint8_t, 16> qs;
  void unpack(float* y) const {
    const auto scale = static_cast<float>(d);
    const auto offset = static_cast<float>(m);
    const auto high = fifth_bits(qh);
#pragma omp simd
    for (size_t i = 0; i < 16; ++i) {
      y[i] = scale * static_cast<float>((qs[i] & 15) | high[i]) + offset;
      y[i + 16] = scale * static_cast<float>((qs[i] >> 4) | high[i + 16]) + offset;
    }
  }
};

struct Q8_0 {
  static constexpr size_t kElements = 32;
  f16 d;
  std::array<int8_t, 32> qs;
  void unpack(float* y) const {
    const auto scale = static_cast<float>(d);
#pragma omp simd
    for (size_t i = 0; i < 32; ++i) y[i] = scale * static_cast<float>(qs[i]);
  }
};

// The K kinds hold eight groups of 32. Their scales and offsets have 6 bits each, in 12 bytes: four
// scales, four offsets, then the low halves of the other four of each, whose upper two bits sit on
// top of the first eight bytes.
struct ScaleAndOffset {
  float scale, offset;
};
ScaleAndOffset group_scale(const std::array<uint8_t, 12>& s, size_t g, float d, float dmin) {
  const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 2 & 48);
  const int offset = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 2 & 48);
  return {d * static_cast<float>(scale), dmin * static_cast<float>(offset)};
}

struct Q4_K {
  static constexpr size_t kElements = 256;
  f16 d, dmin;
  std::array<uint8_t, 12> scales;
  std::array<uint8_t, 128> qs;
  void unpack(float* y) const {
    for (size_t g = 0; g < 8; ++g) {
      const ScaleAndOffset group =
          group_scale(scales, g, static_cast<float>(d), static_cast<float>(dmin));
      const int shift = g % 2 == 0 ? 0 : 4;
#pragma omp simd
      for (size_t i = 0; i < 32; ++i) {
        const int q = qs[g / 2 * 32 + i] >> shift & 15;
        y[g * 32 + i] = group.scale * static_cast<float>(q) - group.offset;
      }
    }
  }
};

struct Q5_K {
  static constexpr size_t kElements = 256;
  f16 d, dmin;
  std::array<uint8_t, 12> scales;
  std::array<uint8_t, 32> qh;
  std::array<uint8_t, 128> qs;
  void unpack(float* y) const {
    for (size_t g = 0; g < 8; ++g) {
      const ScaleAndOffset group =
          group_scale(scales, g, static_cast<float>(d), static_cast<float>(dmin));
      const int shift = g % 2 == 0 ? 0 : 4;
#pragma omp simd
      for (size_t i = 0; i < 32; ++i) {
        const int q = (qs[g / 2 * 32 + i] >> shift & 15) | (qh[i] >> g & 1) << 4;
        y[g * 32 + i] = group.scale * static_cast<float>(q) - group.offset;
      }
    }
  }
};

struct Q6_K {
  static constexpr size_t kElements = 256;
  std::array<uint8_t, 128> ql;
  std::array<uint8_t, 64> qh;
  std::array<int8_t, 16> scales;  // one for each 16 elements
  f16 d;
  void unpack(float* y) const {
    for (size_t g = 0; g < 16; ++g) {
      const float scale = static_cast<float>(d) * static_cast<float>(scales[g]);
      const size_t half = g / 8, quarter = g / 2 % 4, begin = g % 2 * 16;
      const size_t low = half * 64 + quarter % 2 * 32 + begin, high = half * 32 + begin;
      const size_t low_shift = quarter / 2 * 4, high_shift = quarter * 2;
#pragma omp simd
      for (size_t i = 0; i < 16; ++i) {
        const int q = (ql[low + i] >> low_shift & 15) | (qh[high + i] >> high_shift & 3) << 4;
        y[g * 16 + i] = scale * static_cast<float>(q - 32);
      }
    }
  }
};

template <class Block>
void unpack_all(std::span<const std::byte> blocks, std::span<float> out) {
  static_assert(std::is_trivially_copyable_v<Block> && alignof(Block) <= 2);
  for (size_t b = 0; b * sizeof(Block) < blocks.size(); ++b) {
    Block block;
    std::memcpy(&block, blocks.subspan(b * sizeof(Block), sizeof(Block)).data(), sizeof(Block));
    block.unpack(out.subspan(b * Block::kElements, Block::kElements).data());
  }
}

}  // namespace

void dequantise(DType dtype, std::span<const std::byte> blocks, std::span<float> out) {
  check(is_quantised(dtype), "dequantise gets a type of blocks");
  const auto elements = static_cast<size_t>(block_elements(dtype));
  const auto bytes = static_cast<size_t>(block_bytes(dtype));
  check(out.size() % elements == 0 && blocks.size() == out.size() / elements * bytes,
        "dequantise gets as many blocks as fill the output");
  switch (dtype) {
    case DType::q4_0:
      return unpack_all<Q4_0>(blocks, out);
    case DType::q4_1:
      return unpack_all<Q4_1>(blocks, out);
    case DType::q5_0:
      return unpack_all<Q5_0>(blocks, out);
    case DType::q5_1:
      return unpack_all<Q5_1>(blocks, out);
    case DType::q8_0:
      return unpack_all<Q8_0>(blocks, out);
    case DType::q4_k:
      return unpack_all<Q4_K>(blocks, out);
    case DType::q5_k:
      return unpack_all<Q5_K>(blocks, out);
    default:
      return unpack_all<Q6_K>(blocks, out);
  }
}

}  // namespace cria
