// GGUF's blocks taken apart: the whole numbers and scales of 32 or 256 numbers, as packed weights store them. Internal to ops.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace cria::ops {

/// One block. Types with small scales fill `small_*` and have one f16 of each kind; the others have only the f16.
struct OpenBlock {
  std::array<uint8_t, 256> numbers;
  f16 scale, offset;
  std::array<int8_t, 16> small_scales, small_offsets;
};

/// `bytes`: one block of the type (docs/formats/gguf.md, "Blocks").
void open_block(DType type, const std::byte* bytes, OpenBlock& block);

}  // namespace cria::ops
