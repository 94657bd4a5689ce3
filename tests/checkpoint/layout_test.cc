// Which part of a tensor a device holds: the worked example of docs/resharding.md, and laws.
#include "checkpoint/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace cria {
namespace {

ParamLayout layout(std::vector<int64_t> grid, std::vector<std::vector<int64_t>> map, int step = 0,
                   int size = 0) {
  ParamLayout out{.dev_matrix = std::move(grid), .tensor_map = std::move(map)};
  out.opt_weight_shard_step = step;
  out.opt_weight_shard_size = size;
  return out;
}
Part box(std::vector<int64_t> begin, std::vector<int64_t> size) {
  return {std::move(begin), std::move(size)};
}
Part part(const ParamLayout& l, std::vector<int64_t> shape, int64_t rank) {
  return part_of(l, shape, rank, "w");
}

TEST(Layout, WorkedExampleOfTwoWayDataTwoWayModel) {
  const ParamLayout wq = layout({2, 2}, {{0, -1}}, 2, -1);
  EXPECT_EQ(part(wq, {8, 6}, 0), box({0, 0}, {2, 6}));
  EXPECT_EQ(part(wq, {8, 6}, 1), box({4, 0}, {2, 6}));
  EXPECT_EQ(part(wq, {8, 6}, 2), box({2, 0}, {2, 6}));
  EXPECT_EQ(part(wq, {8, 6}, 3), box({6, 0}, {2, 6}));
  const ParamLayout plain = layout({2, 2}, {{0, -1}});
  EXPECT_EQ(part(plain, {8, 6}, 1), box({4, 0}, {4, 6}));
  EXPECT_EQ(part(plain, {8, 6}, 2), box({0, 0}, {4, 6}));
  const ParamLayout wo = layout({2, 2}, {{-1, 0}}, 2, -1);
  for (int64_t rank = 0; rank < 4; ++rank)
    EXPECT_EQ(part(wo, {8, 6}, rank), box({4 * (rank / 2), 3 * (rank % 2)}, {4, 3}));
  const ParamLayout norm = layout({2, 2}, {{-1}}, 1, -1);
  for (int64_t rank = 0; rank < 4; ++rank) EXPECT_EQ(part(norm, {8}, rank), box({2 * rank}, {2}));
}

TEST(Layout, ShardOfTwoOverEightCopiesAlternates) {
  const ParamLayout l = layout({4, 2}, {{-1, -1}}, 1, 2);
  for (int64_t rank = 0; rank < 8; ++rank)
    EXPECT_EQ(part(l, {8, 3}, rank), box({4 * (rank % 2), 0}, {4, 3}));
}

TEST(Layout, ShardSizeWithoutStepIsNoShard) {
  EXPECT_EQ(part(layout({4}, {{-1}}, 0, -1), {8}, 3), box({0}, {8}));
}

TEST(Layout, OneDimOverSeveralGridDimsIsTakenRowMajorInTheOrderListed) {
  const ParamLayout l = layout({2, 4}, {{1, 0}, {-1}});
  const ParamLayout turned = layout({2, 4}, {{0, 1}, {-1}});
  for (int64_t rank = 0; rank < 8; ++rank) {
    EXPECT_EQ(part(l, {16, 3}, rank), box({2 * rank, 0}, {2, 3}));
    EXPECT_EQ(part(turned, {16, 3}, rank), box({2 * (rank % 4 * 2 + rank / 4), 0}, {2, 3}));
  }
  // A vector has one map in both forms; two entries can only mean the newer one.
  EXPECT_EQ(part(layout({2, 4}, {{1, 0}}), {16}, 5), box({10}, {2}));
}

TEST(Layout, RanksWrapRoundTheGrid) {
  const ParamLayout l = layout({2}, {{0}});
  EXPECT_EQ(part(l, {4}, 5), part(l, {4}, 1));
}

TEST(Layout, CutsAreThoseOfTheParts) {
  const ParamLayout l = layout({2, 2, 2}, {{2, 0}}, 1, -1);
  EXPECT_EQ(cuts_of(l, 2, "w"), (std::vector<int64_t>{4, 2}));
  EXPECT_EQ(part(l, {8, 8}, 0).size, (std::vector<int64_t>{2, 4}));
}

TEST(Layout, RefusesWhatDoesNotFit) {
  const auto message = [](const ParamLayout& l, std::vector<int64_t> shape) -> std::string {
    try {
      part(l, std::move(shape), 0);
    } catch (const MismatchError& e) {
      return e.what();
    }
    return "nothing was thrown";
  };
  EXPECT_THAT(message(layout({4}, {{0}}), {6}), testing::HasSubstr("6 elements along dim 0"));
  EXPECT_THAT(message(layout({2, 2}, {{0}}, 1, -1), {2}), testing::HasSubstr("do not divide"));
  EXPECT_THAT(message(layout({4}, {{-1, -1}}, 1, 3), {12, 2}), testing::HasSubstr("shard of 3"));
  EXPECT_THAT(message(layout({4}, {{0, -1}}), {4}), testing::HasSubstr("2 dims"));
  EXPECT_THAT(message(layout({4}, {{0, -1}}), {4, 4, 4}), testing::HasSubstr("2 dims"));
  EXPECT_THAT(message(layout({4}, {{-1}}, 1, -1), {}), testing::HasSubstr("single number"));
  ParamLayout uneven = layout({2}, {{0}});
  uneven.param_split_shape = {3, 1};
  EXPECT_THAT(message(uneven, {4}), testing::HasSubstr("unevenly"));
}

}  // namespace
}  // namespace cria
