#include "base/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace cria {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double exact(const std::vector<double>& numbers) {
  ExactSum sum;
  for (const double x : numbers) sum.add(x);
  return sum.value();
}

double plain(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double x : numbers) sum += x;
  return sum;
}

/// Both signs, exponents from -spread to spread.
std::vector<double> numbers(uint32_t seed, size_t count, int spread) {
  std::mt19937_64 random(seed);
  std::vector<double> result;
  for (size_t i = 0; i < count; ++i) {
    const auto fraction = static_cast<double>(static_cast<int64_t>(random()));
    const int exponent = static_cast<int>(random() % static_cast<uint64_t>(2 * spread + 1));
    result.push_back(std::ldexp(fraction, exponent - spread - 63));
  }
  return result;
}

/// An independent judge, for spreads up to 20: such numbers are integers in units of 2^-93.
double sum_of_integers(const std::vector<double>& numbers) {
  __extension__ using Wide = __int128;
  Wide sum = 0;
  for (const double x : numbers) {
    sum += static_cast<Wide>(std::ldexp(x, 93));  // exact: a double is an integer by then
  }
  return std::ldexp(static_cast<double>(sum), -93);  // the conversion rounds to nearest even
}

TEST(ExactSum, IsTheCorrectlyRoundedSum) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const std::vector<double> x = numbers(seed, 300, 20);
    EXPECT_EQ(exact(x), sum_of_integers(x)) << seed;
  }
}

TEST(ExactSum, OrderAndGroupingDoNotChangeABitWhilePlainSumsDiffer) {
  std::vector<double> x = numbers(7, 1000, 900);
  const auto more = numbers(8, 1000, 3);
  x.insert(x.end(), more.begin(), more.end());
  const double expected = exact(x);
  std::mt19937 random(1);
  std::vector<double> small = more;
  bool plain_differs = false;
  for (int round = 0; round < 100; ++round) {
    std::shuffle(x.begin(), x.end(), random);
    std::shuffle(small.begin(), small.end(), random);
    plain_differs = plain_differs || plain(small) != plain(more);
    EXPECT_EQ(exact(small), exact(more));
    ExactSum parts[5], merged, reduced;
    for (const double v : x) parts[random() % 5].add(v);
    for (ExactSum& part : parts) {
      merged.merge(part);
      const auto from = part.limbs(), to = reduced.limbs();
      for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
    }
    EXPECT_EQ(merged.value(), expected);
    EXPECT_EQ(reduced.value(), expected);
  }
  EXPECT_TRUE(plain_differs);
}

// Expected values are those of Python's math.fsum.
TEST(ExactSum, AgreesWithFsumOnHardCases) {
  EXPECT_EQ(exact({}), 0);
  EXPECT_EQ(exact({0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}), 1.0);
  EXPECT_EQ(exact({1e100, 1.0, -1e100, 1e-100, 1e50, -1.0, -1e50}), 1e-100);
  EXPECT_EQ(exact({0x1p53, -0.5, -0x1p-54}), 0x1p53 - 1);
  EXPECT_EQ(exact({0x1p53, 1.0, 0x1p-100}), 0x1p53 + 2);
  EXPECT_EQ(exact({0x1p53, 1.0}), 0x1p53);  // a tie goes to even
  EXPECT_EQ(exact({0x1p53 + 2, 1.0}), 0x1p53 + 4);
  EXPECT_EQ(exact({-0x1p53, -1.0, -0x1p-100}), -0x1p53 - 2);
  EXPECT_EQ(exact({0x1p-1074, 0x1p-1074, -0x1p-1022}), -0x1p-1022 + 0x1p-1073);
}

TEST(ExactSum, GivesBackEverySingleNumber) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 20000; ++i) {
    const auto x = std::bit_cast<double>(random());
    if (std::isfinite(x)) {
      EXPECT_EQ(exact({x}), x);
    }
  }
  for (const double x : {0x1p-1074, 0x1.fffffffffffffp1023, -0x1.fffffffffffffp1023, 0x1p-1022}) {
    EXPECT_EQ(exact({x}), x);
  }
}

TEST(ExactSum, LeavesTheRangeOnlyInItsValue) {
  constexpr double most = 0x1.fffffffffffffp1023;
  EXPECT_EQ(exact({most, most}), kInfinity);
  EXPECT_EQ(exact({-most, -most, -most}), -kInfinity);
  EXPECT_EQ(exact({most, most, -most}), most);
  EXPECT_EQ(exact({most, 0x1p969}), most);
  EXPECT_EQ(exact({most, 0x1p970}), kInfinity);
}

TEST(ExactSum, NanAndInfinitiesComeThroughAMerge) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(exact({1, nan, 2})));
  EXPECT_TRUE(std::isnan(exact({kInfinity, 1, -kInfinity})));
  EXPECT_EQ(exact({1, kInfinity, 2, kInfinity}), kInfinity);
  EXPECT_EQ(exact({1, -kInfinity}), -kInfinity);
  ExactSum a, b;
  a.add(kInfinity);
  b.add(-kInfinity);
  a.merge(b);
  EXPECT_TRUE(std::isnan(a.value()));
}

TEST(ExactSum, AMillionMergesOfFullDigitsDoNotOverflow) {
  ExactSum part, sum, doubled;
  for (const int exponent : {-1074 + 52, -900, -31, 0, 1, 700})
    part.add(std::ldexp(0x1.fffffffffffffp0, exponent));
  const double one = part.value();
  const auto from = part.limbs();
  const auto to = sum.limbs();
  for (size_t i = 0; i < to.size(); ++i) to[i] = from[i] << 20;  // 2^20 equal ranks
  EXPECT_EQ(sum.value(), one * 0x1p20);
  doubled = part;
  for (int i = 0; i < 40; ++i) {
    const ExactSum copy = doubled;
    doubled.merge(copy);
  }
  EXPECT_EQ(doubled.value(), one * 0x1p40);
}

}  // namespace
}  // namespace cria
