// The blocks' values are judged by a peer in gguf_test.cc; here: edges, and element_cast.
#include "formats/dequantise.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/error.h"
#include "formats/element_cast.h"

namespace cria {
namespace {

template <class Small>
void expect_every_pattern_survives() {
  std::vector<uint16_t> bits(65'536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> wide(bits.size());
  to_f32(dtype_of<Small>, std::as_bytes(std::span(bits)), wide);
  std::vector<uint16_t> back(bits.size());
  from_f32(wide, dtype_of<Small>, std::as_writable_bytes(std::span(back)));
  for (size_t i = 0; i < bits.size(); ++i) {
    if (std::isnan(wide[i])) {
      Small small;
      small.bits = back[i];
      EXPECT_TRUE(std::isnan(static_cast<float>(small))) << i;
    } else {
      EXPECT_EQ(back[i], bits[i]);
    }
  }
}
TEST(ElementCast, EveryHalfSurvivesWideningAndNarrowing) { expect_every_pattern_survives<f16>(); }
TEST(ElementCast, EveryBf16SurvivesWideningAndNarrowing) { expect_every_pattern_survives<bf16>(); }

// The vector code against the scalar types, on patterns that hit ties, overflow and denormals.
template <class Small>
void expect_narrowing_as_scalar() {
  std::vector<float> values;
  for (uint64_t i = 0; i < 1'000'003; ++i)
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(i * 0x9e3779b1U)));
  for (uint32_t upper = 0; upper < 0x10000; upper += 7) {
    for (const uint32_t lower : {0U, 0x7fffU, 0x8000U, 0x8001U, 0x1000U, 0x0fffU, 0x1001U})
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
  }
  std::vector<Small> out(values.size());
  from_f32(values, dtype_of<Small>, std::as_writable_bytes(std::span(out)));
  size_t wrong = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const bool nan = std::isnan(values[i]);
    wrong += nan ? !std::isnan(static_cast<float>(out[i])) : out[i].bits != Small(values[i]).bits;
  }
  EXPECT_EQ(wrong, 0U);
}
TEST(ElementCast, HalvesRoundAsTheScalarTypeDoes) { expect_narrowing_as_scalar<f16>(); }
TEST(ElementCast, Bf16RoundsAsTheScalarTypeDoes) { expect_narrowing_as_scalar<bf16>(); }

TEST(ElementCast, TiesGoToEvenAndTooLargeBecomesInfinity) {
  const std::vector<float> x{1.0F + 0x1p-8F, 1.0F + 0x3p-8F, 65'520.0F, -65'519.0F};
  std::vector<bf16> b(4);
  from_f32(x, DType::bf16, std::as_writable_bytes(std::span(b)));
  EXPECT_EQ(static_cast<float>(b[0]), 1.0F);
  EXPECT_EQ(static_cast<float>(b[1]), 1.0F + 0x4p-8F);
  std::vector<f16> h(4);
  from_f32(x, DType::f16, std::as_writable_bytes(std::span(h)));
  EXPECT_EQ(static_cast<float>(h[2]), std::numeric_limits<float>::infinity());
  EXPECT_EQ(static_cast<float>(h[3]), -65'504.0F);
}

TEST(ElementCast, DoublesRoundToNearestAndBytesNeedNoAlignment) {
  const std::vector<double> x{0.1, -1e300, 2.0};
  std::vector<std::byte> bytes(x.size() * 8 + 1);
  std::memcpy(bytes.data() + 1, x.data(), x.size() * 8);
  std::vector<float> out(3);
  to_f32(DType::f64, std::span(bytes).subspan(1), out);
  EXPECT_EQ(out[0], 0.1F);
  EXPECT_EQ(out[1], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(out[2], 2.0F);
}

TEST(ElementCast, IntegersAreNoRealNumbers) {
  std::vector<std::byte> bytes(8);
  std::vector<float> out(1);
  EXPECT_THROW(to_f32(DType::i64, bytes, out), UsageError);
  EXPECT_THROW(from_f32(out, DType::q8_0, bytes), UsageError);
}

TEST(Dequantise, AnOutputThatIsNotWholeBlocksIsABug) {
  std::vector<std::byte> bytes(34);
  std::vector<float> out(31);
  EXPECT_THROW(dequantise(DType::q8_0, bytes, out), std::logic_error);
  std::vector<float> two_blocks(64);
  EXPECT_THROW(dequantise(DType::q8_0, bytes, two_blocks), std::logic_error);
}

TEST(Dequantise, NoBlocksGiveNoValues) { EXPECT_NO_THROW(dequantise(DType::q4_k, {}, {})); }

}  // namespace
}  // namespace cria
