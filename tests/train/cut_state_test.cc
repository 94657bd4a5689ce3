// What ZeRO cuts over data-parallel ranks: less memory, and runs that evaluate, save and go on as others do. That their results
// are the same is judged by tests/parallel.
#include <gtest/gtest.h>

#include "train/evaluate.h"
#include "train/gradient_sums.h"
#include "train/tiny_run.h"

namespace cria {
namespace {

LlamaConfig config() {
  LlamaConfig c = test::tiny_config();
  c.num_hidden_layers = 6;
  return c;
}
OptimizerShard shard(const RankGrid& grid, int zero) {
  return {
      .count = grid.shard_size(), .index = grid.shard_index(), .threshold_bytes = 0, .zero = zero};
}

/// One of several data-parallel ranks; `group`: RankGrid::shard.
struct Rank {
  Rank(Transport& transport, int zero, int group = 0)
      : groups(transport,
               make_grid(transport.size(), 1, 1, transport.size(), transport.rank(), group)),
        state(config(), DType::f32, true, whole_model(config()), shard(groups.grid, zero)) {
    settings.batch_size = 1;
    settings.compute = DType::f32;
    settings.schedule.kind = Schedule::Kind::constant;
    settings.schedule.lr = 1e-2;
    settings.gradient_accumulation_steps = 2;
    settings.max_steps = 4;
    init_parameters(state.weights, 1, pool);
    state.start(exec);
  }
  Groups groups;
  ThreadPool pool{1};
  ops::Exec exec{pool};
  TrainState state;
  TrainSettings settings;
  test::RandomSamples samples{32};
  test::StepList log;
};

TEST(CutState, EachStageHoldsLessThanTheOneBefore) {
  std::vector<size_t> state_bytes, gradient_bytes;
  for (const int zero : {1, 2, 3}) {
    run_as_threads(2, [&](Transport& transport) {
      Rank rank(transport, zero);
      ParamArena grads(config(), DType::f32, rank.state.weights.part(),
                       rank.state.shard.of_gradients());
      const GradientSums sums(rank.state, grads, 0, rank.groups, rank.exec);
      if (transport.rank() != 0) return;
      state_bytes.push_back(rank.state.size_bytes());
      gradient_bytes.push_back(grads.size_bytes() + sums.size_bytes());
    });
  }
  // Half of the layers' matrices less; the buffers are two of six layers.
  int64_t matrices = 0;
  for (const Param& p : llama_params(config()))
    if (p.layer >= 0 && !p.is_norm()) matrices += p.elements();
  const auto half = static_cast<size_t>(matrices / 2) * sizeof(float);
  EXPECT_EQ(state_bytes[1], state_bytes[0]);
  EXPECT_EQ(state_bytes[2], state_bytes[1] - half);
  EXPECT_LT(gradient_bytes[1], gradient_bytes[0]);
  EXPECT_EQ(gradient_bytes[2], gradient_bytes[1]);
}

// Five batches on two ranks: one has nothing to do in the last round but give its rows.
TEST(CutState, EvaluationWithUnevenBatchesIsThatOfOneRank) {
  test::RandomSamples samples(5);
  double alone = 0;
  {
    ThreadPool pool(1);
    ops::Exec exec{pool};
    ParamArena weights(config(), DType::f32);
    init_parameters(weights, 1, pool);
    alone = evaluate(config(), weights, DType::f32, samples, 1, exec).loss;
  }
  for (const auto& [ranks, zero, group] :
       {std::tuple(2, 1, 0), std::tuple(2, 3, 0), std::tuple(4, 3, 2), std::tuple(4, 3, 1)}) {
    run_as_threads(ranks, [&](Transport& transport) {
      Rank rank(transport, zero, group);
      test::RandomSamples mine(5);
      const Evaluation e =
          evaluate(rank.state.weights, {}, DType::f32, mine, 1, rank.groups, rank.exec);
      EXPECT_EQ(e.loss, alone) << "zero " << zero << ", " << ranks << " ranks";
      EXPECT_EQ(e.batches, 5);
    });
  }
}

TEST(CutState, RanksWithCopiesHoldWhatOnesOfASmallerGroupDo) {
  size_t of_two = 0, of_four = 0, copies_of_two = 0;
  run_as_threads(2, [&](Transport& t) {
    if (t.rank() == 0) of_two = Rank(t, 3).state.size_bytes();
  });
  run_as_threads(4, [&](Transport& t) {
    if (t.rank() == 0) of_four = Rank(t, 3).state.size_bytes();
    if (t.rank() == 3) copies_of_two = Rank(t, 3, 2).state.size_bytes();
  });
  EXPECT_EQ(copies_of_two, of_two);
  EXPECT_LT(of_four, of_two);
}

std::vector<double> losses(const std::string& folder, int zero, int64_t steps, bool resume,
                           int ranks = 2, int group = 0) {
  std::vector<double> result;
  run_as_threads(ranks, [&](Transport& transport) {
    Rank rank(transport, zero, group);
    rank.settings.max_steps = steps;
    rank.settings.checkpoint_root = folder;
    Trainer trainer(rank.state, rank.settings, rank.samples, rank.groups, rank.exec, rank.log);
    if (resume) {
      EXPECT_TRUE(trainer.resume());
    }
    trainer.run();
    if (transport.rank() != 0) return;
    for (const StepReport& s : rank.log.steps) result.push_back(s.loss);
  });
  return result;
}

TEST(CutState, ARunGoesOnFromItsCheckpointBitForBitAndFromOthers) {
  for (const int zero : {2, 3}) {
    TemporaryFolder whole, parts;
    const std::vector<double> straight = losses(whole / "run", zero, 4, false);
    ASSERT_EQ(straight.size(), 4U);
    losses(parts / "run", zero, 2, false);
    const std::vector<double> rest = losses(parts / "run", zero, 4, true);
    EXPECT_EQ(rest, std::vector<double>(straight.begin() + 2, straight.end())) << zero;
  }
  // Groups with copies, and from theirs to one group of all.
  TemporaryFolder copies, rest_of_copies;
  const std::vector<double> straight_4 = losses(copies / "run", 1, 4, false, 4);
  losses(rest_of_copies / "run", 1, 2, false, 4, 2);
  losses(rest_of_copies / "run", 3, 3, true, 4, 0);
  const std::vector<double> last = losses(rest_of_copies / "run", 1, 4, true, 4, 2);
  ASSERT_EQ(last.size(), 1U);
  EXPECT_NEAR(last[0], straight_4[3], 1e-5 * straight_4[3]);  // ZeRO-3 added in another order
  TemporaryFolder to_all;
  losses(to_all / "run", 1, 2, false, 4, 2);
  EXPECT_EQ(losses(to_all / "run", 1, 4, true, 4, 0),
            std::vector<double>(straight_4.begin() + 2, straight_4.end()));
  // Another stage of ZeRO goes on from it; its sums are taken in another order.
  TemporaryFolder folder;
  losses(folder / "run", 3, 2, false);
  const std::vector<double> other = losses(folder / "run", 1, 4, true);
  TemporaryFolder whole;
  const std::vector<double> straight = losses(whole / "run", 1, 4, false);
  ASSERT_EQ(other.size(), 2U);
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(other[i], straight[i + 2], 1e-5 * straight[i + 2]);
}

}  // namespace
}  // namespace cria
