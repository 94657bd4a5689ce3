#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "base/random.h"
#include "tensor/open_block.h"

namespace cria {
namespace {

class BlockTypesOfNumbers : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, BlockTypesOfNumbers,
                         testing::Values(DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,
                                         DType::q8_0, DType::q4_k, DType::q5_k, DType::q6_k,
                                         DType::int4_g32, DType::int4_g64, DType::int4_g128,
                                         DType::int8_g32, DType::int8_g64, DType::int8_g128),
                         [](const auto& p) { return std::string(name_of(p.param)); });

// open_block() is judged by llama.cpp's rows (tests/formats); this is its way back.
TEST_P(BlockTypesOfNumbers, NumbersArePutWhereTheyAreReadAndScalesStay) {
  const DType type = GetParam();
  const auto count = static_cast<size_t>(block_elements(type));
  std::vector<std::byte> block(static_cast<size_t>(block_bytes(type)));
  for (size_t i = 0; i < block.size(); ++i)
    block[i] = static_cast<std::byte>(random_bits(1, 0, i) & 255);
  OpenBlock before, after;
  open_block(type, block.data(), before);
  std::vector<uint8_t> numbers(count);
  for (size_t i = 0; i < count; ++i)
    numbers[i] =
        static_cast<uint8_t>(random_bits(2, 0, i) % static_cast<uint64_t>(most_number(type) + 1));
  put_numbers(type, numbers, block.data());
  open_block(type, block.data(), after);
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(after.numbers[i], numbers[i]) << i;
  const BlockFormat format = block_format(type);
  if (format.wide) {
    EXPECT_EQ(std::bit_cast<uint32_t>(after.wide_scale),
              std::bit_cast<uint32_t>(before.wide_scale));
  } else {
    EXPECT_EQ(after.scale.bits, before.scale.bits);
  }
  if (format.offsets) {
    EXPECT_EQ(after.offset.bits, before.offset.bits);
  }
  for (size_t g = 0; format.of_256 && g < count / static_cast<size_t>(format.group); ++g) {
    EXPECT_EQ(after.small_scales[g], before.small_scales[g]);
    if (format.offsets) {
      EXPECT_EQ(after.small_offsets[g], before.small_offsets[g]);
    }
  }
}

}  // namespace
}  // namespace cria
