// The plan's items against what the objects of a real step have allocated.
#include "plan/rank_memory.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "plan/small_run.h"

namespace cria {
namespace {

int64_t item(const RankMemory& memory, std::string_view name) {
  for (const MemoryItem& i : memory.items)
    if (i.name == name) return i.bytes;
  return 0;
}

/// Every rank's state, gradients and activations are what its share of the plan says. Of the workspace the model's part is
/// compared; what the ops keep is theirs.
void expect_as_planned(const TrainingRun& run) {
  const std::vector<test::Measured> measured = test::measure(run);
  for (int r = 0; r < run.ranks(); ++r) {
    SCOPED_TRACE(
        fmt::format("rank {} of dp {} tp {} pp {}", r, run.grid.dp, run.grid.tp, run.grid.pp));
    const RankMemory planned = rank_memory(run, r);
    const test::Measured& m = measured[static_cast<size_t>(r)];
    EXPECT_EQ(item(planned, "weights") + item(planned, "exact master") + item(planned, "moments"),
              m.state);
    const RankShare share(run, r);
    Recompute most = Recompute::none;
    for (const int64_t layer : share.part.layers) most = std::max(most, share.recompute.of(layer));
    const int64_t workspace =
        Workspace::bytes_for(share.local, run.compute, share.extent, Keep::for_backward, most);
    EXPECT_GE(item(planned, "workspace"), workspace);
    EXPECT_EQ(item(planned, "gradients") + item(planned, "gathered layer") +
                  item(planned, "activations") + workspace,
              m.training);
  }
}

TEST(RankMemory, IsWhatOneRankAllocates) { expect_as_planned(test::small_run(1, 1, 1)); }

TEST(RankMemory, HoldsForEveryDtype) {
  for (const DType storage : {DType::f32, DType::bf16, DType::f16}) {
    for (const bool master : {true, false}) {
      TrainingRun run = test::small_run(1, 1, 1);
      run.storage = storage;
      run.master_weights = master;
      run.compute = storage;
      expect_as_planned(run);
    }
  }
}

TEST(RankMemory, HoldsWithAccumulationTiedTablesAndRecomputing) {
  for (const bool tied : {false, true}) {
    for (const int64_t micros : {1, 3}) {
      TrainingRun run = test::small_run(1, 1, 1);
      run.config = test::small_config(tied);
      run.micro_batches = micros;
      expect_as_planned(run);
      for (const RecomputePolicy& policy :
           {RecomputePolicy(Recompute::gate_up), RecomputePolicy(Recompute::full),
            test::mixed_policy()}) {
        test::recompute(run, policy);
        expect_as_planned(run);
      }
    }
  }
}

TEST(RankMemory, HoldsForDataParallelRanksAndTheirShards) {
  TrainingRun run = test::small_run(4, 1, 1);
  expect_as_planned(run);
  run.optimizer_shard = true;
  expect_as_planned(run);
  run.storage = DType::bf16;
  run.config = test::small_config(true);
  for (const int zero : {1, 2, 3}) {
    run.zero = zero;
    expect_as_planned(run);
  }
}

TEST(RankMemory, HoldsForRanksWithCopiesAndIsThatOfAsManyRanksAsAGroupHas) {
  for (const int zero : {1, 2, 3}) {
    TrainingRun run = test::small_run(4, 1, 1);
    run.grid.shard = 2;
    run.optimizer_shard = true;
    run.zero = zero;
    expect_as_planned(run);
    TrainingRun two = test::small_run(2, 1, 1);
    two.optimizer_shard = true;
    two.zero = zero;
    EXPECT_EQ(item(rank_memory(run, 3), "moments"), item(rank_memory(two, 1), "moments"));
  }
}

TEST(RankMemory, HoldsForTensorParallelRanks) {
  TrainingRun run = test::small_run(1, 4, 1);
  expect_as_planned(run);
  run.sequence_parallel = true;
  expect_as_planned(run);
  run.vocab_split = true;
  expect_as_planned(run);
  run.seq_length = 23;  // 46 tokens: ranks have different numbers of rows
  expect_as_planned(run);
}

TEST(RankMemory, HoldsForStagesOfAPipeline) {
  TrainingRun run = test::small_run(1, 1, 4);
  run.micro_batches = 6;
  expect_as_planned(run);
  run.config = test::small_config(true);
  test::recompute(run, test::mixed_policy());
  expect_as_planned(run);
}

TEST(RankMemory, HoldsForTheInterleavedSchedule) {
  TrainingRun run = test::small_run(1, 1, 2);
  run.micro_batches = 4;
  run.split = [](int stages) { return split_interleaved(4, stages, 2); };
  expect_as_planned(run);
}

TEST(RankMemory, HoldsForAllAxesAtOnce) {
  TrainingRun run = test::small_run(2, 2, 2);
  run.optimizer_shard = run.sequence_parallel = run.stages_split_vocab = true;
  run.storage = run.compute = DType::bf16;
  for (const int zero : {1, 2, 3}) {
    run.zero = zero;
    expect_as_planned(run);
  }
}

TEST(RankMemory, ARunThatEvaluatesNeedsMore) {
  TrainingRun run = test::small_run(1, 1, 1);
  const int64_t without = rank_memory(run, 0).total();
  run.evaluates = true;
  EXPECT_GT(rank_memory(run, 0).total(), without);
}

TEST(RankMemory, TheFullestRankIsTheFullestOfAll) {
  TrainingRun run = test::small_run(2, 2, 4);
  run.micro_batches = 8;
  int64_t most = 0;
  for (int r = 0; r < run.ranks(); ++r) most = std::max(most, rank_memory(run, r).total());
  EXPECT_EQ(fullest_rank(run).total(), most);
}

TEST(RankMemory, ForbiddenLayoutsAreNamed) {
  EXPECT_THROW(rank_memory(test::small_run(1, 3, 1), 0), UsageError);  // 8 heads
  EXPECT_THROW(rank_memory(test::small_run(1, 1, 5), 0), UsageError);  // 4 layers
  TrainingRun run = test::small_run(1, 1, 2);
  run.micro_batches = 1;
  EXPECT_THROW(rank_memory(run, 0), UsageError);
}

}  // namespace
}  // namespace cria
