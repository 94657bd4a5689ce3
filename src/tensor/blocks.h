// How blocks of few bits lie in memory: GGUF's as in its files, groups of whole numbers with their scale in front. Read by
// open_block.cc, written by formats/quantise*.cc and compressed_tensors.cc.
//
// Names: d scale, m (or dmin) offset, qs low bits, qh high bits. Source: docs/formats/gguf.md, "Blocks".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace cria::blocks {

struct Q4_0 {
  static constexpr size_t kElements = 32;
  f16 d;
  std::array<uint8_t, 16> qs;
};

struct Q4_1 {
  static constexpr size_t kElements = 32;
  f16 d, m;
  std::array<uint8_t, 16> qs;
};

struct Q5_0 {
  static constexpr size_t kElements = 32;
  f16 d;
  std::array<uint8_t, 4> qh;
  std::array<uint8_t, 16> qs;
};

struct Q5_1 {
  static constexpr size_t kElements = 32;
  f16 d, m;
  std::array<uint8_t, 4> qh;
  std::array<uint8_t, 16> qs;
};

struct Q8_0 {
  static constexpr size_t kElements = 32;
  f16 d;
  std::array<int8_t, 32> qs;
};

// Q4_K and Q5_K hold eight groups of 32. Their scales and offsets have 6 bits each, in 12 bytes: four
// scales, four offsets, then the low halves of the other four of each, whose upper two bits sit on
// top of the first eight bytes.
struct Q4_K {
  static constexpr size_t kElements = 256;
  f16 d, dmin;
  std::array<uint8_t, 12> scales;
  std::array<uint8_t, 128> qs;
};

struct Q5_K {
  static constexpr size_t kElements = 256;
  f16 d, dmin;
  std::array<uint8_t, 12> scales;
  std::array<uint8_t, 32> qh;
  std::array<uint8_t, 128> qs;
};

struct Q6_K {
  static constexpr size_t kElements = 256;
  std::array<uint8_t, 128> ql;
  std::array<uint8_t, 64> qh;
  std::array<int8_t, 16> scales;  // one for each 16 elements
  f16 d;
};

// int4_* and int8_*: number k of the group takes bits [k * Bits, (k + 1) * Bits) of qs and stands for d times (it - 2^(Bits - 1)).
// The numbers are those of a file of compressed-tensors; d is f32 because there scales are bf16, f16 or f32.
template <size_t Bits, size_t Group>
struct IntGroup {
  static constexpr size_t kElements = Group, kBits = Bits;
  float d;
  std::array<uint8_t, Group * Bits / 8> qs;
};

// No padding anywhere: a block in memory is a block in the file.
static_assert(sizeof(Q4_0) == 18 && sizeof(Q4_1) == 20 && sizeof(Q5_0) == 22 && sizeof(Q5_1) == 24);
static_assert(sizeof(Q8_0) == 34 && sizeof(Q4_K) == 144 && sizeof(Q5_K) == 176 &&
              sizeof(Q6_K) == 210);
static_assert(sizeof(IntGroup<4, 32>) == 20 && sizeof(IntGroup<8, 128>) == 132);

}  // namespace cria::blocks
