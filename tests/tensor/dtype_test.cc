#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <limits>

namespace cria {
namespace {

TEST(DType, NamesGoThereAndBack) {
  for (int i = 0; i <= static_cast<int>(DType::q6_k); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(name_of(dtype)), dtype);
    EXPECT_GT(block_bytes(dtype), 0);
  }
  EXPECT_EQ(dtype_from_name("float32"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
}

TEST(DType, BlocksHaveTheSizesOfTheirFormats) {
  EXPECT_EQ(bytes_of(DType::bf16, 7), 14);
  EXPECT_EQ(bytes_of(DType::f64, 3), 24);
  EXPECT_EQ(bytes_of(DType::q4_0, 64), 36);
  EXPECT_EQ(bytes_of(DType::q6_k, 512), 420);
  EXPECT_TRUE(is_quantised(DType::q4_0));
  EXPECT_FALSE(is_quantised(DType::boolean));
  EXPECT_TRUE(is_float(DType::bf16));
  EXPECT_FALSE(is_float(DType::i8));
}

// Rounding against a search: the nearest 16-bit number, and of two equally near the even one.
template <class T>
void expect_nearest_even(float value) {
  const T got(value);
  if (std::isnan(value)) {
    EXPECT_TRUE(std::isnan(static_cast<float>(got)));
    return;
  }
  const auto away = [&](uint16_t bits) {
    T t;
    t.bits = bits;
    const auto v = static_cast<double>(static_cast<float>(t));
    return std::abs(v - static_cast<double>(value));
  };
  const auto magnitude = static_cast<uint16_t>(got.bits & 0x7fff);
  const auto sign = static_cast<uint16_t>(got.bits & 0x8000);
  EXPECT_EQ(sign != 0, std::signbit(value));
  const double error = away(got.bits);
  if (!std::isfinite(static_cast<float>(got))) return;
  for (const int step : {-1, 1}) {
    if (magnitude == 0 && step < 0) continue;
    const auto other = static_cast<uint16_t>(sign | (magnitude + step));
    ASSERT_LE(error, away(other)) << value;
    if (error == away(other)) {
      ASSERT_EQ(magnitude & 1, 0) << value;
    }
  }
}

TEST(HalfFloats, RoundToNearestEven) {
  for (uint32_t upper = 0; upper < 65536; upper += 3) {
    for (const uint32_t lower : {0u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u}) {
      const auto value = std::bit_cast<float>(upper << 16 | lower);
      expect_nearest_even<bf16>(value);
      expect_nearest_even<f16>(value);
    }
  }
}

TEST(HalfFloats, OverflowBecomesInfinity) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(static_cast<float>(f16(65519.0f)), 65504);
  EXPECT_EQ(static_cast<float>(f16(65520.0f)), inf);
  EXPECT_EQ(static_cast<float>(bf16(-std::numeric_limits<float>::max())), -inf);
  EXPECT_EQ(static_cast<float>(bf16(inf)), inf);
}

TEST(HalfFloats, WideningIsExactForEveryNumber) {
  for (uint32_t i = 0; i < 65536; ++i) {
    bf16 b;
    f16 h;
    b.bits = h.bits = static_cast<uint16_t>(i);
    if (!std::isnan(static_cast<float>(b))) {
      ASSERT_EQ(bf16(static_cast<float>(b)).bits, i);
    }
    if (!std::isnan(static_cast<float>(h))) {
      ASSERT_EQ(f16(static_cast<float>(h)).bits, i);
    }
  }
}

}  // namespace
}  // namespace cria
