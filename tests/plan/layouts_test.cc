// Proposals and the cheapest change, on shapes whose answers can be told by hand.
#include "plan/layouts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "plan/report.h"
#include "plan/small_run.h"

namespace cria {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TrainingRun run_of_8b(int dp) {
  TrainingRun run;
  run.config = named_config("8b");
  run.seq_length = 8192;
  run.grid.dp = dp;
  return run;
}
constexpr int64_t kGib = int64_t{1} << 30;

TEST(Layouts, AreAllDivisionsThatTheRulesAllow) {
  // 4 layers, 4 KV heads, 16 samples: tp up to 4, pp up to 4, dp up to 16.
  TrainingRun run = test::small_run(8, 1, 1);
  int count = 0;
  for (const Layout& l : propose_layouts(run, 8, 0)) {
    ++count;
    EXPECT_EQ(l.run.ranks(), 8);
    EXPECT_EQ(l.run.global_batch(), run.global_batch());
    EXPECT_LE(l.run.grid.tp, 4);
    EXPECT_LE(l.run.grid.pp, 4);
    EXPECT_GE(l.run.micro_batches, l.run.grid.pp);
  }
  EXPECT_EQ(count, 8);  // of 10 divisions of 8 over three axes: not tp 8, not pp 8
}

TEST(Layouts, ThoseThatFitComeFirst) {
  const int64_t available = 50 * kGib;
  bool too_large = false;
  for (const Layout& l : propose_layouts(run_of_8b(8), 8, available)) {
    const bool good = fits(l.memory.total(), available);
    EXPECT_FALSE(good && too_large);
    too_large |= !good;
  }
  EXPECT_TRUE(too_large);
}

TEST(Layouts, WaitingIsThePipelinesShare) {
  TrainingRun run = test::small_run(1, 1, 4);
  run.micro_batches = 4;
  EXPECT_DOUBLE_EQ(measure_layout(run).bubble, 3.0 / 7);
  EXPECT_DOUBLE_EQ(measure_layout(test::small_run(2, 1, 1)).bubble, 0);
  run = test::small_run(1, 1, 2);
  run.micro_batches = 4;
  run.split = [](int stages) { return split_interleaved(4, stages, 2); };
  EXPECT_DOUBLE_EQ(measure_layout(run).bubble, 0.5 / 4.5);
}

// Each case leaves just as much memory as the change needs.
TEST(CheapestChange, NamesTheSettingThatCostsLeast) {
  TrainingRun run = run_of_8b(8);
  test::recompute(run, Recompute::full);
  const auto sharded = cheapest_change(run, 70 * kGib);
  ASSERT_TRUE(sharded);
  EXPECT_EQ(sharded->text, "parallel.enable_parallel_optimizer True");
  EXPECT_TRUE(fits(sharded->memory.total(), 70 * kGib));

  run = run_of_8b(1);
  run.batch_size = 4;
  const auto smaller = cheapest_change(run, 220 * kGib);
  ASSERT_TRUE(smaller);
  EXPECT_EQ(smaller->text, "batch_size 2 with gradient_accumulation_steps 2");

  const auto gate_up = cheapest_change(run_of_8b(1), 140 * kGib);
  ASSERT_TRUE(gate_up);
  EXPECT_EQ(gate_up->text, "recompute_config.recompute_gate_up True");

  const auto again = cheapest_change(run_of_8b(1), 134 * kGib);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->text, "recompute_config.recompute True");
}

TEST(CheapestChange, JoinsSettingsBeforeItAsksForRanks) {
  TrainingRun run = run_of_8b(8);
  const auto both = cheapest_change(run, 68 * kGib);
  ASSERT_TRUE(both);
  EXPECT_EQ(both->text,
            "parallel.enable_parallel_optimizer True and "
            "parallel.parallel_optimizer_config.gradient_accumulation_shard True");
  EXPECT_EQ(both->run.ranks(), 8);

  const auto ranks = cheapest_change(run_of_8b(1), 64 * kGib);
  ASSERT_TRUE(ranks);
  EXPECT_THAT(ranks->text, StartsWith("4 ranks: "));
  EXPECT_TRUE(fits(ranks->memory.total(), 64 * kGib));
}

TEST(CheapestChange, IsNothingWhereNothingHelps) {
  EXPECT_FALSE(cheapest_change(run_of_8b(1), kGib / 4));
}

TEST(CheckMemory, RefusesWithNumbersAndAChange) {
  const TrainingRun run = run_of_8b(1);
  EXPECT_THAT(check_training_memory(run, 0, 512 * kGib), StartsWith("Memory estimate: "));
  EXPECT_THAT(check_training_memory(run, 0, 0), StartsWith("Memory estimate: "));  // unknown
  try {
    check_training_memory(run, 0, 134 * kGib);
    FAIL() << "it was taken to fit";
  } catch (const Error& e) {
    EXPECT_EQ(e.code, ExitCode::memory);
    EXPECT_THAT(e.what(), HasSubstr("134.00 are available"));
    EXPECT_THAT(e.what(), HasSubstr("try: recompute_config.recompute True"));
    EXPECT_LE(std::string_view(e.what()).size(), 512U);
  }
}

TEST(PlanReport, SaysWhetherItFits) {
  PlanReport report{.run = run_of_8b(1), .available = 512 * kGib};
  EXPECT_THAT(plan_text(report), HasSubstr("8,030,261,248 parameters"));
  EXPECT_THAT(plan_verdict(report), StartsWith("fits: "));
  EXPECT_THAT(plan_json(report), HasSubstr("\"fits\": true"));
  report.available = 64 * kGib;
  EXPECT_THROW(plan_verdict(report), Error);
  EXPECT_THAT(plan_json(report), HasSubstr("\"fits\": false"));
}

}  // namespace
}  // namespace cria
