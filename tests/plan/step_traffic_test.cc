// The plan's bytes against the counters of a real step, group by group.
#include "plan/step_traffic.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "plan/small_run.h"

namespace cria {
namespace {

void expect_as_counted(const TrainingRun& run) {
  const std::vector<test::Measured> measured = test::measure(run);
  for (int r = 0; r < run.ranks(); ++r) {
    const StepTraffic planned = step_traffic(run, r);
    int64_t total = 0;
    for (const auto& [group, bytes] : measured[static_cast<size_t>(r)].sent) {
      EXPECT_EQ(planned.of(group), bytes) << group << " of rank " << r << ", dp " << run.grid.dp
                                          << " tp " << run.grid.tp << " pp " << run.grid.pp;
      total += bytes;
    }
    EXPECT_EQ(planned.total(), total);
  }
}

TEST(StepTraffic, OneRankSendsNothing) {
  EXPECT_EQ(step_traffic(test::small_run(1, 1, 1), 0).total(), 0);
  expect_as_counted(test::small_run(1, 1, 1));
}

TEST(StepTraffic, IsWhatDataParallelRanksCount) {
  for (const int dp : {2, 3, 4}) {
    for (const bool shard : {false, true}) {
      for (const bool tied : {false, true}) {
        TrainingRun run = test::small_run(dp, 1, 1);
        run.optimizer_shard = shard;
        run.config = test::small_config(tied);
        run.micro_batches = tied ? 2 : 1;
        run.storage = tied ? DType::bf16 : DType::f32;
        for (const int zero : {1, 2, 3}) {
          run.zero = zero;
          expect_as_counted(run);
        }
      }
    }
  }
}

// 64 rows in groups of two or four; of 3 copies no rank has as many rows as another.
TEST(StepTraffic, IsWhatRanksWithCopiesCount) {
  for (const auto& [dp, shard] :
       {std::pair(4, 2), std::pair(8, 2), std::pair(8, 4), std::pair(6, 2), std::pair(4, 1)}) {
    for (const int zero : {1, 2, 3}) {
      TrainingRun run = test::small_run(dp, 1, 1);
      run.grid.shard = shard;
      run.optimizer_shard = true;
      run.zero = zero;
      run.micro_batches = zero == 2 ? 2 : 1;
      expect_as_counted(run);
    }
  }
  TrainingRun run = test::small_run(4, 2, 1);
  run.grid.shard = 2;
  run.optimizer_shard = run.vocab_split = true;
  expect_as_counted(run);
}

TEST(StepTraffic, SmallerGroupsKeepWeightsNearAndSendNoFewerGradients) {
  TrainingRun run = test::small_run(8, 1, 1);
  run.optimizer_shard = true;
  const StepTraffic all = step_traffic(run, 0);
  run.grid.shard = 2;
  const StepTraffic groups = step_traffic(run, 0);
  EXPECT_LT(groups.of("dp shard"), all.of("dp shard"));
  EXPECT_EQ(groups.of("dp sums"), all.of("dp sums"));
  EXPECT_GT(groups.of("dp copy gathers"), 0);
}

TEST(StepTraffic, IsWhatTensorParallelRanksCount) {
  for (const bool sequence : {false, true}) {
    for (const bool vocab : {false, true}) {
      for (const bool again : {false, true}) {
        TrainingRun run = test::small_run(1, 4, 1);
        run.sequence_parallel = sequence;
        run.vocab_split = vocab;
        if (again) test::recompute(run, test::mixed_policy());
        run.trained_tokens = vocab ? 10 : 0;
        expect_as_counted(run);
        run.compute = DType::bf16;  // sums of 16-bit rows are divided over the ranks however small
        run.seq_length = 23;        // rows that do not divide
        run.trained_tokens = 0;
        expect_as_counted(run);
      }
    }
  }
}

TEST(StepTraffic, IsWhatStagesCount) {
  for (const bool tied : {false, true}) {
    TrainingRun run = test::small_run(1, 1, 4);
    run.micro_batches = 5;
    run.config = test::small_config(tied);
    expect_as_counted(run);
  }
  TrainingRun run = test::small_run(1, 1, 2);
  run.micro_batches = 4;
  run.split = [](int stages) { return split_interleaved(4, stages, 2); };
  expect_as_counted(run);
}

TEST(StepTraffic, IsWhatAllAxesTogetherCount) {
  for (const bool sequence : {false, true}) {
    TrainingRun run = test::small_run(2, 2, 2);
    run.optimizer_shard = run.stages_split_vocab = true;
    run.sequence_parallel = sequence;
    run.config = test::small_config(sequence);
    for (const int zero : {1, 3}) {
      run.zero = zero;
      expect_as_counted(run);
    }
  }
}

TEST(StepTraffic, AnotherSettingIsAnotherNumber) {
  TrainingRun run = test::small_run(1, 4, 1);
  const int64_t plain = step_traffic(run, 0).total();
  test::recompute(run, Recompute::full);
  EXPECT_GT(step_traffic(run, 0).total(), plain);
}

}  // namespace
}  // namespace cria
