// GGUF's blocks taken apart: the whole numbers and scales of 32 or 256 numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace cria {

/// What the numbers of a type stand for: scale * (number - zero), or with offsets scale * number + offset. Types of 256 take
/// their offsets away: scale * number - offset.
struct BlockFormat {
  int64_t group = 0;     // numbers that share a scale: 16 or 32
  int zero = 0;          // taken off each number
  bool offsets = false;  // a group has an offset
  bool of_256 =
      false;  // a group's scale (and offset) is a small whole number times an f16 that all 256 share
};
/// Of a type that is_quantised().
BlockFormat block_format(DType type);

/// One block. Types of 256 fill `small_*`; the others have only the f16.
struct OpenBlock {
  std::array<uint8_t, 256> numbers;
  f16 scale, offset;
  std::array<int8_t, 16> small_scales, small_offsets;
};

/// `bytes`: one block of the type (docs/formats/gguf.md, "Blocks").
void open_block(DType type, const std::byte* bytes, OpenBlock& block);

}  // namespace cria
