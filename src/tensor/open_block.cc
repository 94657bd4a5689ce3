#include "tensor/open_block.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/blocks.h"

// A block is copied into the struct of its layout and opened by loops of constant length, which the compiler turns into vector code.
namespace cria {
namespace {

using namespace blocks;

/// The low halves are the first 16 numbers, the high halves the others.
void open_nibbles(const std::array<uint8_t, 16>& qs, uint8_t* numbers) {
#pragma omp simd
  for (size_t i = 0; i < 16; ++i) {
    numbers[i] = qs[i] & 15;
    numbers[i + 16] = qs[i] >> 4;
  }
}

/// Bit i of the four bytes is the fifth bit of number i.
void add_fifth_bits(const std::array<uint8_t, 4>& qh, uint8_t* numbers) {
  uint32_t bits = 0;
  std::memcpy(&bits, qh.data(), 4);
#pragma omp simd
  for (uint32_t i = 0; i < 32; ++i)
    numbers[i] = static_cast<uint8_t>(numbers[i] | (bits >> i & 1) << 4);
}

void open(const Q4_0& b, OpenBlock& block) {
  block.scale = b.d;
  open_nibbles(b.qs, block.numbers.data());
}

void open(const Q4_1& b, OpenBlock& block) {
  block.scale = b.d;
  block.offset = b.m;
  open_nibbles(b.qs, block.numbers.data());
}

void open(const Q5_0& b, OpenBlock& block) {
  block.scale = b.d;
  open_nibbles(b.qs, block.numbers.data());
  add_fifth_bits(b.qh, block.numbers.data());
}

void open(const Q5_1& b, OpenBlock& block) {
  block.scale = b.d;
  block.offset = b.m;
  open_nibbles(b.qs, block.numbers.data());
  add_fifth_bits(b.qh, block.numbers.data());
}

void open(const Q8_0& b, OpenBlock& block) {
  block.scale = b.d;
#pragma omp simd
  for (size_t i = 0; i < 32; ++i) block.numbers[i] = static_cast<uint8_t>(b.qs[i]) ^ 0x80;
}

/// Eight scales and eight offsets of 6 bits.
void open_small_scales(const std::array<uint8_t, 12>& s, OpenBlock& block) {
  for (size_t g = 0; g < 8; ++g) {
    const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 2 & 48);
    const int offset = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 2 & 48);
    block.small_scales[g] = static_cast<int8_t>(scale);
    block.small_offsets[g] = static_cast<int8_t>(offset);
  }
}

/// Groups 2g and 2g + 1 are the low and the high halves of the same 32 bytes.
void open_pairs_of_groups(const std::array<uint8_t, 128>& qs, uint8_t* numbers) {
  for (size_t g = 0; g < 8; ++g) {
    const int shift = g % 2 == 0 ? 0 : 4;
#pragma omp simd
    for (size_t i = 0; i < 32; ++i)
      numbers[g * 32 + i] = static_cast<uint8_t>(qs[g / 2 * 32 + i] >> shift & 15);
  }
}

void open(const Q4_K& b, OpenBlock& block) {
  block.scale = b.d;
  block.offset = b.dmin;
  open_small_scales(b.scales, block);
  open_pairs_of_groups(b.qs, block.numbers.data());
}

void open(const Q5_K& b, OpenBlock& block) {
  block.scale = b.d;
  block.offset = b.dmin;
  open_small_scales(b.scales, block);
  open_pairs_of_groups(b.qs, block.numbers.data());
  for (size_t g = 0; g < 8; ++g) {
    uint8_t* const numbers = block.numbers.data() + g * 32;
#pragma omp simd
    for (size_t i = 0; i < 32; ++i)
      numbers[i] = static_cast<uint8_t>(numbers[i] | (b.qh[i] >> g & 1) << 4);
  }
}

void open(const Q6_K& b, OpenBlock& block) {
  block.scale = b.d;
  block.small_scales = b.scales;
  for (size_t g = 0; g < 16; ++g) {
    const size_t half = g / 8, quarter = g / 2 % 4, begin = g % 2 * 16;
    const size_t low = half * 64 + quarter % 2 * 32 + begin, high = half * 32 + begin;
    const size_t low_shift = quarter / 2 * 4, high_shift = quarter * 2;
#pragma omp simd
    for (size_t i = 0; i < 16; ++i)
      block.numbers[g * 16 + i] = static_cast<uint8_t>((b.ql[low + i] >> low_shift & 15) |
                                                       (b.qh[high + i] >> high_shift & 3) << 4);
  }
}

template <size_t Group>
void open(const IntGroup<4, Group>& b, OpenBlock& block) {
  block.wide_scale = b.d;
#pragma omp simd
  for (size_t i = 0; i < Group / 2; ++i) {
    block.numbers[2 * i] = b.qs[i] & 15;
    block.numbers[2 * i + 1] = b.qs[i] >> 4;
  }
}

template <size_t Group>
void open(const IntGroup<8, Group>& b, OpenBlock& block) {
  block.wide_scale = b.d;
  std::ranges::copy(b.qs, block.numbers.begin());
}

template <class Block>
void open_all(const std::byte* bytes, int64_t stride, std::span<OpenBlock> blocks) {
  for (OpenBlock& block : blocks) {
    Block b;
    std::memcpy(&b, bytes, sizeof(Block));
    open(b, block);
    bytes += stride;
  }
}

}  // namespace

BlockFormat block_format(DType type) {
  switch (type) {
    case DType::q4_0:
      return {.group = 32, .zero = 8};
    case DType::q5_0:
      return {.group = 32, .zero = 16};
    case DType::q8_0:
      return {.group = 32, .zero = 128};
    case DType::q4_1:
    case DType::q5_1:
      return {.group = 32, .offsets = true};
    case DType::q4_k:
    case DType::q5_k:
      return {.group = 32, .offsets = true, .of_256 = true};
    case DType::int4_g32:
    case DType::int4_g64:
    case DType::int4_g128:
      return {.group = block_elements(type), .zero = 8, .wide = true};
    case DType::int8_g32:
    case DType::int8_g64:
    case DType::int8_g128:
      return {.group = block_elements(type), .zero = 128, .wide = true};
    default:
      check(type == DType::q6_k, "a type of blocks is asked for");
      return {.group = 16, .zero = 32, .of_256 = true};
  }
}

BlockLine line_of(const BlockFormat& format, const OpenBlock& block, size_t group) {
  if (format.wide) return {block.wide_scale, 0};
  BlockLine line{static_cast<float>(block.scale), 0};
  if (format.offsets) line.offset = static_cast<float>(block.offset);
  if (!format.of_256) return line;
  line.scale *= static_cast<float>(block.small_scales[group]);
  if (format.offsets) line.offset *= -static_cast<float>(block.small_offsets[group]);
  return line;
}

void open_block(DType type, const std::byte* bytes, OpenBlock& block) {
  open_blocks(type, bytes, 0, {&block, 1});
}

void open_blocks(DType type, const std::byte* bytes, int64_t stride, std::span<OpenBlock> blocks) {
  switch (type) {
    case DType::q4_0:
      return open_all<Q4_0>(bytes, stride, blocks);
    case DType::q4_1:
      return open_all<Q4_1>(bytes, stride, blocks);
    case DType::q5_0:
      return open_all<Q5_0>(bytes, stride, blocks);
    case DType::q5_1:
      return open_all<Q5_1>(bytes, stride, blocks);
    case DType::q8_0:
      return open_all<Q8_0>(bytes, stride, blocks);
    case DType::q4_k:
      return open_all<Q4_K>(bytes, stride, blocks);
    case DType::q5_k:
      return open_all<Q5_K>(bytes, stride, blocks);
    case DType::int4_g32:
      return open_all<IntGroup<4, 32>>(bytes, stride, blocks);
    case DType::int4_g64:
      return open_all<IntGroup<4, 64>>(bytes, stride, blocks);
    case DType::int4_g128:
      return open_all<IntGroup<4, 128>>(bytes, stride, blocks);
    case DType::int8_g32:
      return open_all<IntGroup<8, 32>>(bytes, stride, blocks);
    case DType::int8_g64:
      return open_all<IntGroup<8, 64>>(bytes, stride, blocks);
    case DType::int8_g128:
      return open_all<IntGroup<8, 128>>(bytes, stride, blocks);
    default:
      return open_all<Q6_K>(bytes, stride, blocks);
  }
}

}  // namespace cria
