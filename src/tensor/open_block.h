// Blocks taken apart: the whole numbers and scales of 32 to 256 numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace cria {

/// What the numbers of a type stand for: scale * (number - zero), or with offsets scale * number + offset. Types of 256 take
/// their offsets away: scale * number - offset.
struct BlockFormat {
  int64_t group = 0;     // numbers that share a scale: 16, 32, 64 or 128
  int zero = 0;          // taken off each number
  bool offsets = false;  // a group has an offset
  bool of_256 =
      false;  // a group's scale (and offset) is a small whole number times an f16 that all 256 share
  bool wide = false;  // the scale is an f32; without offsets
};
/// Of a type that is_quantised().
BlockFormat block_format(DType type);

/// One block. Types of 256 fill `small_*`; those with a wide scale have `wide_scale` instead of the f16; the others have only the f16.
struct OpenBlock {
  std::array<uint8_t, 256> numbers;
  f16 scale, offset;
  float wide_scale;
  std::array<int8_t, 16> small_scales, small_offsets;
};

/// A group's numbers stand for scale * (number - zero) + offset.
struct BlockLine {
  float scale = 0, offset = 0;
};
BlockLine line_of(const BlockFormat& format, const OpenBlock& block, size_t group);

/// The largest whole number that the type can store: 15, 31, 63 or 255.
int most_number(DType type);
/// 4 or 8, of int4_* and int8_*.
inline int64_t int_group_bits(DType type) { return most_number(type) == 15 ? 4 : 8; }

/// Replaces the whole numbers of a block, all of them, and leaves its scales.
void put_numbers(DType type, std::span<const uint8_t> numbers, std::byte* block);

/// `bytes`: one block of the type (docs/formats/gguf.md, "Blocks").
void open_block(DType type, const std::byte* bytes, OpenBlock& block);
/// Several, `stride` bytes apart.
void open_blocks(DType type, const std::byte* bytes, int64_t stride, std::span<OpenBlock> blocks);

}  // namespace cria
