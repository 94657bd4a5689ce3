#include "formats/dequantise.h"

#include <array>
#include <cstring>

#include "base/error.h"
#include "formats/blocks.h"

// Each block is copied into a struct of its layout and unpacked by loops of constant length, which
// the compiler turns into vector code.
namespace cria {
namespace {

using namespace blocks;

void unpack(const Q4_0& b, float* y) {
  const auto scale = static_cast<float>(b.d);
#pragma omp simd
  for (size_t i = 0; i < 16; ++i) {
    y[i] = scale * static_cast<float>((b.qs[i] & 15) - 8);
    y[i + 16] = scale * static_cast<float>((b.qs[i] >> 4) - 8);
  }
}

void unpack(const Q4_1& b, float* y) {
  const auto scale = static_cast<float>(b.d);
  const auto offset = static_cast<float>(b.m);
#pragma omp simd
  for (size_t i = 0; i < 16; ++i) {
    y[i] = scale * static_cast<float>(b.qs[i] & 15) + offset;
    y[i + 16] = scale * static_cast<float>(b.qs[i] >> 4) + offset;
  }
}

// The 32 fifth bits, one bit an element, as 0 or 16.
std::array<uint8_t, 32> fifth_bits(const std::array<uint8_t, 4>& qh) {
  uint32_t bits = 0;
  std::memcpy(&bits, qh.data(), 4);
  std::array<uint8_t, 32> high;
  for (uint32_t i = 0; i < 32; ++i) high[i] = static_cast<uint8_t>((bits >> i & 1) << 4);
  return high;
}

void unpack(const Q5_0& b, float* y) {
  const auto scale = static_cast<float>(b.d);
  const auto high = fifth_bits(b.qh);
#pragma omp simd
  for (size_t i = 0; i < 16; ++i) {
    y[i] = scale * static_cast<float>(((b.qs[i] & 15) | high[i]) - 16);
    y[i + 16] = scale * static_cast<float>(((b.qs[i] >> 4) | high[i + 16]) - 16);
  }
}

void unpack(const Q5_1& b, float* y) {
  const auto scale = static_cast<float>(b.d);
  const auto offset = static_cast<float>(b.m);
  const auto high = fifth_bits(b.qh);
#pragma omp simd
  for (size_t i = 0; i < 16; ++i) {
    y[i] = scale * static_cast<float>((b.qs[i] & 15) | high[i]) + offset;
    y[i + 16] = scale * static_cast<float>((b.qs[i] >> 4) | high[i + 16]) + offset;
  }
}

void unpack(const Q8_0& b, float* y) {
  const auto scale = static_cast<float>(b.d);
#pragma omp simd
  for (size_t i = 0; i < 32; ++i) y[i] = scale * static_cast<float>(b.qs[i]);
}

struct ScaleAndOffset {
  float scale, offset;
};
ScaleAndOffset group_scale(const std::array<uint8_t, 12>& s, size_t g, float d, float dmin) {
  const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 2 & 48);
  const int offset = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 2 & 48);
  return {d * static_cast<float>(scale), dmin * static_cast<float>(offset)};
}

void unpack(const Q4_K& b, float* y) {
  for (size_t g = 0; g < 8; ++g) {
    const ScaleAndOffset group =
        group_scale(b.scales, g, static_cast<float>(b.d), static_cast<float>(b.dmin));
    const int shift = g % 2 == 0 ? 0 : 4;
#pragma omp simd
    for (size_t i = 0; i < 32; ++i) {
      const int q = b.qs[g / 2 * 32 + i] >> shift & 15;
      y[g * 32 + i] = group.scale * static_cast<float>(q) - group.offset;
    }
  }
}

void unpack(const Q5_K& b, float* y) {
  for (size_t g = 0; g < 8; ++g) {
    const ScaleAndOffset group =
        group_scale(b.scales, g, static_cast<float>(b.d), static_cast<float>(b.dmin));
    const int shift = g % 2 == 0 ? 0 : 4;
#pragma omp simd
    for (size_t i = 0; i < 32; ++i) {
      const int q = (b.qs[g / 2 * 32 + i] >> shift & 15) | (b.qh[i] >> g & 1) << 4;
      y[g * 32 + i] = group.scale * static_cast<float>(q) - group.offset;
    }
  }
}

void unpack(const Q6_K& b, float* y) {
  for (size_t g = 0; g < 16; ++g) {
    const float scale = static_cast<float>(b.d) * static_cast<float>(b.scales[g]);
    const size_t half = g / 8, quarter = g / 2 % 4, begin = g % 2 * 16;
    const size_t low = half * 64 + quarter % 2 * 32 + begin, high = half * 32 + begin;
    const size_t low_shift = quarter / 2 * 4, high_shift = quarter * 2;
#pragma omp simd
    for (size_t i = 0; i < 16; ++i) {
      const int q = (b.ql[low + i] >> low_shift & 15) | (b.qh[high + i] >> high_shift & 3) << 4;
      y[g * 16 + i] = scale * static_cast<float>(q - 32);
    }
  }
}

template <class Block>
void unpack_all(std::span<const std::byte> blocks, std::span<float> out) {
  for (size_t b = 0; b * sizeof(Block) < blocks.size(); ++b) {
    Block block;
    std::memcpy(&block, blocks.subspan(b * sizeof(Block), sizeof(Block)).data(), sizeof(Block));
    unpack(block, out.subspan(b * Block::kElements, Block::kElements).data());
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
