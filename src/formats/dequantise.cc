#include "formats/dequantise.h"

#include "base/error.h"
#include "tensor/open_block.h"

namespace cria {
namespace {

template <size_t Group>
void numbers_of_group(const BlockFormat& format, const BlockLine& s, const uint8_t* numbers,
                      float* y) {
  if (format.offsets) {
#pragma omp simd
    for (size_t i = 0; i < Group; ++i) y[i] = s.scale * static_cast<float>(numbers[i]) + s.offset;
  } else {
    const int zero = format.zero;
#pragma omp simd
    for (size_t i = 0; i < Group; ++i) y[i] = s.scale * static_cast<float>(numbers[i] - zero);
  }
}

}  // namespace

void dequantise(DType dtype, std::span<const std::byte> blocks, std::span<float> out) {
  check(is_quantised(dtype), "dequantise gets a type of blocks");
  const auto elements = static_cast<size_t>(block_elements(dtype));
  const auto bytes = static_cast<size_t>(block_bytes(dtype));
  check(out.size() % elements == 0 && blocks.size() == out.size() / elements * bytes,
        "dequantise gets as many blocks as fill the output");
  const BlockFormat format = block_format(dtype);
  const auto group = static_cast<size_t>(format.group);
  OpenBlock block;
  for (size_t b = 0; b * elements < out.size(); ++b) {
    open_block(dtype, blocks.data() + b * bytes, block);
    for (size_t g = 0; g < elements / group; ++g) {
      const BlockLine s = line_of(format, block, g);
      const uint8_t* const numbers = block.numbers.data() + g * group;
      float* const y = out.data() + b * elements + g * group;
      if (group == 16) numbers_of_group<16>(format, s, numbers, y);
      for (size_t i = 0; i + 32 <= group; i += 32)
        numbers_of_group<32>(format, s, numbers + i, y + i);
    }
  }
}

}  // namespace cria
