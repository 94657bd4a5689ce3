#include "train/layer_split.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace cria {
namespace {

std::vector<int64_t> counts(const StageRuns& runs) {
  std::vector<int64_t> list;
  for (const auto& stage : runs) {
    int64_t layers = 0;
    for (const LayerRun& run : stage) layers += run.count;
    list.push_back(layers);
  }
  return list;
}
using Counts = std::vector<int64_t>;

TEST(LayerSplit, OneOffsetFollowsTheRecipesFormula) {
  EXPECT_EQ(counts(split_by_offset(32, 1, 0)), Counts({32}));
  EXPECT_EQ(counts(split_by_offset(32, 4, 0)), Counts({8, 8, 8, 8}));
  // per = (30 + 1) / 4 = 7: what is left over goes to the last stage.
  EXPECT_EQ(counts(split_by_offset(30, 4, 0)), Counts({7, 7, 7, 9}));
  EXPECT_EQ(counts(split_by_offset(30, 4, 2)), Counts({5, 7, 7, 11}));
  EXPECT_EQ(counts(split_by_offset(30, 4, -1)), Counts({8, 7, 7, 8}));
}

TEST(LayerSplit, AListOfOffsetsMustAddUp) {
  const std::vector<int64_t> offsets = {1, 0, 0, -1};
  EXPECT_EQ(counts(split_by_offsets(32, 4, offsets)), Counts({9, 8, 8, 7}));
  EXPECT_THROW(split_by_offsets(32, 3, offsets), UsageError);
  EXPECT_THROW(split_by_offsets(33, 4, offsets), UsageError);
  const std::vector<int64_t> empty = {8, 0, 0, -8};
  EXPECT_THROW(split_by_offsets(32, 4, empty), UsageError);
}

TEST(LayerSplit, TheEndsOfTheModelLieInTheFirstAndLastRun) {
  const StageRuns runs = split_interleaved(16, 4, 2);
  ASSERT_EQ(runs.size(), 4);
  EXPECT_TRUE(runs[0][0].embedding);
  EXPECT_FALSE(runs[0][1].embedding);
  EXPECT_TRUE(runs[3][1].head);
  EXPECT_FALSE(runs[3][0].head);
  EXPECT_EQ(runs[1][1].first, 10);  // run number 1 * 4 + 1 = 5 of two layers each
  EXPECT_THROW(split_interleaved(18, 4, 2), UsageError);
}

TEST(LayerSplit, ByCostTheStageWithTheHeadHasFewerLayers) {
  EXPECT_EQ(counts(split_by_cost(32, 4, 2.4)), Counts({8, 9, 9, 6}));
  EXPECT_EQ(counts(split_by_cost(8, 8, 5)), Counts({1, 1, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(counts(split_by_cost(8, 1, 5)), Counts({8}));
  // The 8B model's head costs as much as about 2.4 layers.
  EXPECT_NEAR(head_cost_in_layers(named_config("8b"), 8192), 2.1, 0.2);
  EXPECT_NEAR(head_cost_in_layers(named_config("8b"), 1), 2.4, 0.05);
}

}  // namespace
}  // namespace cria
