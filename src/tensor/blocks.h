// How GGUF's blocks of few bits lie in memory. Read by open_block.cc, written by formats/quantise*.cc.
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

// No padding anywhere: a block in memory is a block in the file.
static_assert(sizeof(Q4_0) == 18 && sizeof(Q4_1) == 20 && sizeof(Q5_0) == 22 && sizeof(Q5_1) == 24);
static_assert(sizeof(Q8_0) == 34 && sizeof(Q4_K) == 144 && sizeof(Q5_K) == 176 &&
              sizeof(Q6_K) == 210);

}  // namespace cria::blocks
