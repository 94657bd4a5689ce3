#include "ops/elementwise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "base/error.h"
#include "ops/window.h"

namespace cria::ops {
namespace {

ThreadPool& pool() {
  static ThreadPool p(2);
  return p;
}
Exec fast() { return {pool()}; }
Exec reference() { return {pool(), true}; }

// The rule itself, bit by bit: nearest, ties to even, NaN quieted.
uint16_t bf16_bits_by_rule(uint32_t u) {
  if ((u & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(u >> 16 | 0x40);
  uint32_t upper = u >> 16;
  const uint32_t rest = u & 0xffff;
  if (rest > 0x8000 || (rest == 0x8000 && (upper & 1) == 1)) ++upper;
  return static_cast<uint16_t>(upper);
}

TEST(Convert, Bf16FollowsTheRuleForEveryUpperHalf) {
  const std::vector<uint32_t> lower = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
  Tensor from(DType::f32, static_cast<int64_t>(lower.size()), 65536), to(DType::bf16, 6, 65536);
  for (int64_t r = 0; r < from.rows(); ++r) {
    for (uint32_t u = 0; u < 65536; ++u) {
      from.view().row<float>(r)[u] = std::bit_cast<float>(u << 16 | lower[static_cast<size_t>(r)]);
    }
  }
  convert(from, to, fast());
  for (int64_t r = 0; r < from.rows(); ++r) {
    for (uint32_t u = 0; u < 65536; ++u) {
      const uint32_t bits = u << 16 | lower[static_cast<size_t>(r)];
      ASSERT_EQ(to.view().row<bf16>(r)[u].bits, bf16_bits_by_rule(bits)) << std::hex << bits;
    }
  }
}

TEST(Convert, EverySixteenBitNumberSurvivesTheWayToF32AndBack) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    Tensor from(dtype, 1, 65536), wide(DType::f32, 1, 65536), back(dtype, 1, 65536);
    for (size_t i = 0; i < 65536; ++i) from.span<uint16_t>()[i] = static_cast<uint16_t>(i);
    convert(from, wide, fast());
    convert(wide, back, fast());
    for (size_t i = 0; i < 65536; ++i) {
      if (std::isnan(wide.span<float>()[i])) {
        ASSERT_EQ(back.span<uint16_t>()[i] | 0x40 | 0x200, i | 0x40 | 0x200);
      } else {
        ASSERT_EQ(back.span<uint16_t>()[i], i);
      }
    }
  }
}

TEST(Convert, EqualsTheReferenceForEveryMixAndWidth) {
  for (const DType a : kComputeTypes) {
    for (const DType b : kComputeTypes) {
      for (const int64_t width : kWidths) {
        Window from(a, 3, width, 1), to(b, 3, width, 2), expected(to);
        convert(from, to, fast());
        convert(from, expected, reference());
        EXPECT_TRUE(same_bits(to.memory, expected.memory)) << width;
      }
    }
  }
}

TEST(Convert, OverflowOfF16BecomesInfinity) {
  Tensor from(DType::f32, 1, 3), to(DType::f16, 1, 3);
  from.span<float>()[0] = 65519;
  from.span<float>()[1] = 65520;
  from.span<float>()[2] = -1e30f;
  convert(from, to, fast());
  EXPECT_EQ(static_cast<float>(to.span<f16>()[0]), 65504.0f);
  EXPECT_EQ(static_cast<float>(to.span<f16>()[1]), std::numeric_limits<float>::infinity());
  EXPECT_EQ(static_cast<float>(to.span<f16>()[2]), -std::numeric_limits<float>::infinity());
}

TEST(Add, EqualsTheReferenceForEveryMixAndWidth) {
  // f32 + f32 is correctly rounded, then the storage rounding: a sum in double of two f32 that is
  // rounded to f32 has the same bits.
  for (const DType a : kComputeTypes) {
    for (const DType b : kComputeTypes) {
      for (const int64_t width : kWidths) {
        Window x(a, 3, width, 1), y(b, 3, width, 2), expected(x);
        add(x, y, fast());
        add(expected, y, reference());
        EXPECT_TRUE(same_bits(x.memory, expected.memory)) << width;
      }
    }
  }
}

TEST(Add, SameBitsForAnyNumberOfThreads) {
  const Tensor y = random_matrix(DType::bf16, 50, 1000, 2);
  expect_same_bits_for_any_threads([&](const Exec& exec) {
    Tensor x = random_matrix(DType::f32, 50, 1000, 1);
    add(x, y, exec);
    return x;
  });
}

TEST(FillZero, ClearsTheWindowAndNothingElse) {
  for (const int64_t width : kWidths) {
    Window x(DType::bf16, 4, width, 1), before(x);
    fill_zero(x, fast());
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t c = 0; c < width; ++c) ASSERT_EQ(number_at(x, r, c), 0);
    }
    EXPECT_TRUE(same_bits(x.gap_view(), before.gap_view()));
  }
}

TEST(Elementwise, RefusesOtherShapesAndDtypes) {
  Tensor a(DType::f32, 2, 3), b(DType::f32, 2, 4), ints(DType::i32, 2, 3);
  EXPECT_THROW(convert(a, b, fast()), UsageError);
  EXPECT_THROW(add(a, b, fast()), UsageError);
  EXPECT_THROW(convert(ints, a, fast()), UsageError);
  try {
    add(a, b, fast());
  } catch (const UsageError& e) {
    EXPECT_STREQ(e.what(), "add: y is [2, 4], expected [2, 3]");
  }
}

TEST(Elementwise, EmptyWindowsAreNothingToDo) {
  Tensor none(DType::f32, 0, 5), thin(DType::f32, 5, 0);
  convert(none, none, fast());
  add(thin, thin, fast());
  fill_zero(none, fast());
}

}  // namespace
}  // namespace cria::ops
