#include "data/permutation.h"

#include <gtest/gtest.h>

#include <vector>

namespace cria {
namespace {

TEST(Permutation, MeetsEveryRowOnceForEverySizeSeedAndEpoch) {
  std::vector<uint64_t> sizes = {63, 64, 65, 255, 256, 257, 1000, 4095, 4096, 4097, 52002, 100003};
  for (uint64_t n = 1; n <= 40; ++n) sizes.push_back(n);
  for (const uint64_t n : sizes) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      for (uint64_t epoch = 0; epoch < 3; ++epoch) {
        const Permutation order(n, seed, epoch);
        std::vector<bool> seen(n);
        for (uint64_t i = 0; i < n; ++i) {
          const uint64_t row = order(i);
          ASSERT_LT(row, n);
          ASSERT_FALSE(seen[row]) << "n " << n << " seed " << seed << " epoch " << epoch;
          seen[row] = true;
        }
      }
    }
  }
}

TEST(Permutation, EpochsAndSeedsDiffer) {
  const Permutation a(1000, 1, 0), b(1000, 1, 1), c(1000, 2, 0);
  int same_b = 0, same_c = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    same_b += a(i) == b(i) ? 1 : 0;
    same_c += a(i) == c(i) ? 1 : 0;
  }
  // One on average when the orders are independent.
  EXPECT_LT(same_b, 8);
  EXPECT_LT(same_c, 8);
}

TEST(Permutation, EveryRowIsAboutAsLikelyAtEveryPosition) {
  constexpr uint64_t n = 5;
  constexpr int kEpochs = 20000;
  int counts[n][n] = {};
  for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const Permutation order(n, 7, epoch);
    for (uint64_t i = 0; i < n; ++i) ++counts[i][order(i)];
  }
  // Binomial(20000, 1/5): mean 4000, standard deviation 57; six of these on either side.
  for (const auto& row : counts)
    for (const int count : row) EXPECT_NEAR(count, 4000, 6 * 57);
}

TEST(Permutation, TakesTheLargestSizes) {
  const uint64_t n = uint64_t{1} << 62;
  const Permutation order(n, 3, 5);
  EXPECT_LT(order(0), n);
  EXPECT_LT(order(n - 1), n);
  EXPECT_NE(order(0), order(1));
}

}  // namespace
}  // namespace cria
