// What packed blocks stand for, against the reader that llama.cpp's files judge (tests/formats/gguf_test.cc).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "formats/dequantise.h"
#include "ops/packed.h"

namespace cria {
namespace {

class PackedRows : public testing::TestWithParam<DType> {};

TEST_P(PackedRows, StandForWhatDequantiseSays) {
  const DType type = GetParam();
  constexpr int64_t kRows = 21, kCols = 768;
  std::vector<std::byte> blocks(static_cast<size_t>(bytes_of(type, kRows * kCols)));
  for (size_t i = 0; i < blocks.size(); ++i)
    blocks[i] = static_cast<std::byte>(random_bits(1, static_cast<uint64_t>(type), i));
  ops::PackedMatrix packed(type, kRows, kCols);
  packed.put_rows(0, blocks);
  const auto row_bytes = static_cast<size_t>(bytes_of(type, kCols));
  std::vector<float> have(kCols), want(kCols);
  int compared = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    packed.row(r, have);
    dequantise(type, std::span(blocks).subspan(static_cast<size_t>(r) * row_bytes, row_bytes),
               want);
    for (size_t k = 0; k < have.size(); ++k) {
      // Random bits make some scales infinite.
      if (std::isnan(want[k])) {
        ASSERT_TRUE(std::isnan(have[k]));
      } else {
        ASSERT_EQ(std::memcmp(&have[k], &want[k], 4), 0) << r << ", " << k;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, kRows * kCols / 2);
}

INSTANTIATE_TEST_SUITE_P(Types, PackedRows,
                         testing::Values(DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,
                                         DType::q8_0, DType::q4_k, DType::q5_k, DType::q6_k,
                                         DType::int4_g32, DType::int4_g64, DType::int4_g128,
                                         DType::int8_g32, DType::int8_g64, DType::int8_g128),
                         [](const auto& p) { return std::string(name_of(p.param)); });

}  // namespace
}  // namespace cria
