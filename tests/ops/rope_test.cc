#include "ops/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ops/random_matrix.h"

namespace cria::ops {
namespace {

using Kind = RopeScaling::Kind;

std::vector<int32_t> some_positions(int64_t tokens) {
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < tokens; ++t) positions.push_back(static_cast<int32_t>(t * 7 % 50));
  return positions;
}

TEST(RopeFrequencies, FollowTheFormula) {
  const auto f = rope_inverse_frequencies(64, 500000.0, {});
  ASSERT_EQ(f.size(), 32U);
  EXPECT_DOUBLE_EQ(f[0], 1.0);
  EXPECT_DOUBLE_EQ(f[16], std::pow(500000.0, -0.5));
}

TEST(RopeFrequencies, LinearDividesAndNtkStretchesTheta) {
  const auto plain = rope_inverse_frequencies(16, 10000.0, {});
  const auto linear = rope_inverse_frequencies(16, 10000.0, {Kind::linear, 4.0});
  const auto ntk = rope_inverse_frequencies(16, 10000.0, {Kind::dynamic_ntk_theta, 4.0});
  for (size_t j = 0; j < plain.size(); ++j) {
    EXPECT_DOUBLE_EQ(linear[j], plain[j] / 4);
    EXPECT_DOUBLE_EQ(ntk[j], std::pow(40000.0, -static_cast<double>(j) / 8));
  }
}

TEST(RopeFrequencies, Llama3KeepsShortWavesSlowsLongOnesAndBlendsBetween) {
  // Llama 3.1's config.json: wave lengths below 8192 / 4 stay, above 8192 / 1 are slowed by 8.
  const RopeScaling scaling{Kind::llama3, 8.0, 1.0, 4.0, 8192};
  const auto plain = rope_inverse_frequencies(128, 500000.0, {});
  const auto scaled = rope_inverse_frequencies(128, 500000.0, scaling);
  int kept = 0, slowed = 0, blended = 0;
  for (size_t j = 0; j < plain.size(); ++j) {
    const double turns = 8192 * plain[j] / (2 * M_PI);  // turns within the trained context
    if (turns > 4) {
      EXPECT_EQ(scaled[j], plain[j]);
      ++kept;
    } else if (turns < 1) {
      EXPECT_DOUBLE_EQ(scaled[j], plain[j] / 8);
      ++slowed;
    } else {
      const double smooth = (turns - 1) / 3;
      EXPECT_NEAR(scaled[j] / plain[j], (1 - smooth) / 8 + smooth, 1e-12);
      ++blended;
    }
  }
  EXPECT_GT(kept, 20);
  EXPECT_GT(slowed, 20);
  EXPECT_GT(blended, 2);
}

class RopeCases : public testing::TestWithParam<std::tuple<int64_t, DType>> {};

TEST_P(RopeCases, RotatesByPositionTimesFrequency) {
  const auto [dim, dtype] = GetParam();
  ThreadPool pool(2);
  const RopeTable table(dim, 50, 10000.0, {});
  const Tensor x = random_matrix(dtype, 23, 3 * dim + 5, 1);
  const auto positions = some_positions(23);
  Tensor y = x.clone(), plain = x.clone();
  rope(y.view().col_range(0, 3 * dim), positions, table, Turn::forward, {pool});
  rope(plain.view().col_range(0, 3 * dim), positions, table, Turn::forward, {pool, true});
  // Two products and a sum of numbers up to 1, rounded to f32; then to storage.
  const double unit = dtype == DType::f32 ? 4e-7 : dtype == DType::f16 ? 0x1p-10 : 0x1p-7;
  for (int64_t t = 0; t < 23; ++t) {
    for (int64_t c = 0; c < 3 * dim; ++c) {
      const int64_t j = c % dim, half = dim / 2, pair = j % half, head = c - j;
      const double angle =
          positions[static_cast<size_t>(t)] *
          std::pow(10000.0, -2.0 * static_cast<double>(pair) / static_cast<double>(dim));
      const double x1 = number_at(x, t, head + pair), x2 = number_at(x, t, head + half + pair);
      const double want = j < half ? x1 * std::cos(angle) - x2 * std::sin(angle)
                                   : x2 * std::cos(angle) + x1 * std::sin(angle);
      ASSERT_NEAR(number_at(y, t, c), want, unit);
      ASSERT_NEAR(number_at(plain, t, c), want, unit);
    }
    for (int64_t c = 3 * dim; c < x.cols(); ++c) EXPECT_EQ(number_at(y, t, c), number_at(x, t, c));
  }
}

TEST_P(RopeCases, BackwardUndoesForward) {
  const auto [dim, dtype] = GetParam();
  ThreadPool pool(2);
  const RopeTable table(dim, 50, 10000.0, {});
  const Tensor x = random_matrix(dtype, 23, 2 * dim, 1);
  Tensor y = x.clone();
  rope(y, some_positions(23), table, Turn::forward, {pool});
  rope(y, some_positions(23), table, Turn::backward, {pool});
  // Each turn rounds numbers below sqrt(2) once.
  const double unit = dtype == DType::f32 ? 1e-6 : dtype == DType::f16 ? 0x1.8p-9 : 0x1.8p-6;
  for (int64_t t = 0; t < 23; ++t) {
    for (int64_t c = 0; c < x.cols(); ++c) {
      ASSERT_NEAR(number_at(y, t, c), number_at(x, t, c), unit);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Odd, RopeCases,
                         testing::Combine(testing::Values(2, 6, 16, 18, 64, 80, 128, 256),
                                          testing::Values(DType::f32, DType::f16, DType::bf16)));

TEST(Rope, SaysWhatIsWrong) {
  ThreadPool pool(1);
  const RopeTable table(4, 10, 10000.0, {});
  Tensor x(DType::f32, 2, 8), narrow(DType::f32, 2, 6);
  const auto failure = [&](View v, const std::vector<int32_t>& positions) -> std::string {
    try {
      rope(v, positions, table, Turn::forward, {pool});
    } catch (const UsageError& e) {
      return e.what();
    }
    return "no failure";
  };
  EXPECT_EQ(failure(x, {0, 10}), "rope: token 1 stands at position 10, the table has 10");
  EXPECT_EQ(failure(x, {-1, 0}), "rope: token 0 stands at position -1, the table has 10");
  EXPECT_EQ(failure(x, {0}), "rope: 1 positions for 2 tokens");
  EXPECT_EQ(failure(narrow, {0, 1}), "rope: x has 6 columns, no multiple of head_dim 4");
  EXPECT_THROW(rope_inverse_frequencies(5, 10000.0, {}), UsageError);
  EXPECT_THROW(rope_inverse_frequencies(4, 0.0, {}), UsageError);
  EXPECT_THROW(rope_inverse_frequencies(4, 1.0, {Kind::llama3, 8.0, 4.0, 4.0, 8192}), UsageError);
}

}  // namespace
}  // namespace cria::ops
