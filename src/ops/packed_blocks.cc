#include "ops/packed_blocks.h"

#include <cstring>

namespace cria::ops {
namespace {

template <class T>
T read(const std::byte*& p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  p += sizeof(T);
  return value;
}

/// 16 bytes: the low halves are the first 16 numbers, the high halves the others.
void open_nibbles(const std::byte* p, uint8_t* numbers) {
  for (size_t i = 0; i < 16; ++i) {
    const auto byte = static_cast<uint8_t>(p[i]);
    numbers[i] = byte & 15;
    numbers[i + 16] = byte >> 4;
  }
}

/// Bit i of the four bytes is the fifth bit of number i.
void add_fifth_bits(uint32_t bits, uint8_t* numbers) {
  for (uint32_t i = 0; i < 32; ++i)
    numbers[i] = static_cast<uint8_t>(numbers[i] | (bits >> i & 1) << 4);
}

/// Eight scales and eight offsets of 6 bits in 12 bytes.
void open_small_scales(const std::byte* bytes, OpenBlock& block) {
  std::array<uint8_t, 12> s;
  std::memcpy(s.data(), bytes, s.size());
  for (size_t g = 0; g < 8; ++g) {
    const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 2 & 48);
    const int offset = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 2 & 48);
    block.small_scales[g] = static_cast<int8_t>(scale);
    block.small_offsets[g] = static_cast<int8_t>(offset);
  }
}

void open_k(const std::byte* p, bool five_bits, OpenBlock& block) {
  block.scale = read<f16>(p);
  block.offset = read<f16>(p);
  open_small_scales(p, block);
  p += 12;
  std::array<uint8_t, 32> high{};
  if (five_bits) {
    std::memcpy(high.data(), p, high.size());
    p += high.size();
  }
  for (size_t g = 0; g < 8; ++g) {
    const int shift = g % 2 == 0 ? 0 : 4;
    for (size_t i = 0; i < 32; ++i) {
      const int low = static_cast<int>(p[g / 2 * 32 + i]) >> shift & 15;
      block.numbers[g * 32 + i] = static_cast<uint8_t>(low | (high[i] >> g & 1) << 4);
    }
  }
}

void open_q6_k(const std::byte* p, OpenBlock& block) {
  const std::byte *low = p, *high = p + 128;
  std::memcpy(block.small_scales.data(), p + 192, 16);
  std::memcpy(&block.scale, p + 208, 2);
  for (size_t g = 0; g < 16; ++g) {
    const size_t half = g / 8, quarter = g / 2 % 4, begin = g % 2 * 16;
    const std::byte* const l = low + half * 64 + quarter % 2 * 32 + begin;
    const std::byte* const h = high + half * 32 + begin;
    const size_t low_shift = quarter / 2 * 4, high_shift = quarter * 2;
    for (size_t i = 0; i < 16; ++i) {
      block.numbers[g * 16 + i] =
          static_cast<uint8_t>((static_cast<int>(l[i]) >> low_shift & 15) |
                               (static_cast<int>(h[i]) >> high_shift & 3) << 4);
    }
  }
}

}  // namespace

void open_block(DType type, const std::byte* p, OpenBlock& block) {
  switch (type) {
    case DType::q4_k:
      return open_k(p, false, block);
    case DType::q5_k:
      return open_k(p, true, block);
    case DType::q6_k:
      return open_q6_k(p, block);
    default:
      break;
  }
  block.scale = read<f16>(p);
  if (type == DType::q8_0) {
    for (size_t i = 0; i < 32; ++i) block.numbers[i] = static_cast<uint8_t>(p[i]) ^ 0x80;
    return;
  }
  if (type == DType::q4_1 || type == DType::q5_1) block.offset = read<f16>(p);
  const uint32_t fifth = type == DType::q5_0 || type == DType::q5_1 ? read<uint32_t>(p) : 0;
  open_nibbles(p, block.numbers.data());
  if (fifth != 0) add_fifth_bits(fifth, block.numbers.data());
}

}  // namespace cria::ops
