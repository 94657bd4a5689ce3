// Which layers recompute_config names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "recipe/settings.h"

namespace cria::recipe {
namespace {

// What each layer of a model of twelve recomputes: '-' nothing, 'g' gate and up, 'F' all.
std::string policy(const std::string& yaml, const StageRuns& runs) {
  RecipeSettings s;
  read_recompute_settings(parse_yaml("recompute_config: " + yaml, "test.yaml"), s);
  const RecomputePolicy p = recompute_policy(s, runs, 12);
  std::string text;
  for (int64_t l = 0; l < 12; ++l) text += "-gF"[static_cast<int>(p.of(l))];
  return text;
}

const StageRuns kOne = {};
const StageRuns kThree = split_by_offsets(12, 3, std::vector<int64_t>{-2, 0, 2});  // 2, 4, 6
const StageRuns kInterleaved = split_interleaved(12, 2, 3);                        // runs of 2

TEST(Recompute, oneWordCountsForAllLayers) {
  EXPECT_EQ(policy("{recompute: False}", kThree), "------------");
  EXPECT_EQ(policy("{recompute: True}", kThree), "FFFFFFFFFFFF");
  EXPECT_EQ(policy("{recompute_gate_up: True}", kOne), "gggggggggggg");
}

TEST(Recompute, aNumberForEachStageCountsItsFirstLayers) {
  EXPECT_EQ(policy("{recompute: [5]}", kOne), "FFFFF-------");
  EXPECT_EQ(policy("{recompute: [5, 3, 0]}", kThree),
            "FFFFF"
            "-"
            "------");
  EXPECT_EQ(policy("{recompute: [False, 1, True]}", kThree),
            "--"
            "F---"
            "FFFFFF");
}

TEST(Recompute, aStagesRunsTakeTurns) {
  // Runs of stage 0: layers 0 1, 4 5, 8 9; of stage 1: 2 3, 6 7, 10 11.
  EXPECT_EQ(policy("{recompute: [4, 1]}", kInterleaved), "FFF-F---F---");
  EXPECT_EQ(policy("{recompute: [[2, 0], [0, 1], [9, 0]]}", kInterleaved), "FF----F-FF--");
}

TEST(Recompute, theStrongerWins) {
  EXPECT_EQ(policy("{recompute: [1, 0, 2], recompute_gate_up: [2, 1, 1]}", kThree),
            "Fg"
            "g---"
            "FF----");
}

void expect_refused(const std::string& yaml, const StageRuns& runs, const std::string& part) {
  try {
    policy(yaml, runs);
    ADD_FAILURE() << yaml << " was accepted";
  } catch (const UsageError& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr(part));
  }
}

TEST(Recompute, listsOfOtherShapesAreRefused) {
  expect_refused("{recompute: [1, 2]}", kThree, "a list of 2, expected one for each of 3 stages");
  expect_refused("{recompute: [[1, 2]]}", kInterleaved,
                 "a list of 1, expected one for each of 3 runs");
  expect_refused("{recompute: [[1], [1], [1]]}", kInterleaved,
                 "of 1, expected one for each of 2 stages");
  expect_refused("{recompute: [1, [2]]}", kThree, "1 between lists");
  expect_refused("{recompute: [-1, 0, 0]}", kThree, "-1 in the list");
  expect_refused("{recompute: [a, 0, 0]}", kThree, "a in the list");
  expect_refused("{recompute: 3}", kThree, "recompute_config.recompute is 3");
}

}  // namespace
}  // namespace cria::recipe
