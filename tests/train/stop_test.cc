// How a run ends before its last step, and how it goes on.
#include <gtest/gtest.h>

#include <csignal>

#include "train/stop_signals.h"
#include "train/tiny_run.h"

namespace cria::test {
namespace {

std::string bits_of_a_whole_run(DType storage) {
  TinyRun run(storage);
  run.train();
  return run.bits();
}

class Stopping : public testing::TestWithParam<int> {};

TEST_P(Stopping, FinishesTheStepSavesAndResumesBitForBit) {
  const TemporaryFolder folder;
  for (int64_t step = 1; step < 12; step += 5) {
    const std::string root = folder / std::to_string(step);
    TinyRun first(DType::bf16);
    first.settings.checkpoint_root = root;
    first.samples.before_fill = [&](int64_t fills) {
      if (fills == step - 1) std::raise(GetParam());
    };
    const TrainResult stopped = first.train();
    EXPECT_TRUE(stopped.stopped_by_signal);
    EXPECT_EQ(stopped.batches, step);
    EXPECT_EQ(checkpoint_steps(root), std::vector<int64_t>{step});

    TinyRun second(DType::bf16);
    second.settings.checkpoint_root = root;
    const TrainResult finished = second.train(true);
    EXPECT_FALSE(finished.stopped_by_signal);
    EXPECT_EQ(finished.batches, 12);
    EXPECT_EQ(second.log.steps.front().batch, step + 1);
    EXPECT_EQ(second.bits(), bits_of_a_whole_run(DType::bf16)) << "stopped after step " << step;
  }
}
INSTANTIATE_TEST_SUITE_P(Signals, Stopping, testing::Values(SIGTERM, SIGINT),
                         [](const auto& of) { return of.param == SIGTERM ? "TERM" : "INT"; });

TEST(Signals, Usr1SavesAndTheRunGoesOn) {
  const TemporaryFolder folder;
  TinyRun run;
  run.settings.checkpoint_root = folder / "run";
  run.samples.before_fill = [](int64_t fills) {
    if (fills == 3 || fills == 8) std::raise(SIGUSR1);
  };
  const TrainResult result = run.train();
  EXPECT_FALSE(result.stopped_by_signal);
  EXPECT_EQ(result.batches, 12);
  EXPECT_EQ(checkpoint_steps(folder / "run"), (std::vector<int64_t>{4, 9, 12}));
  EXPECT_EQ(run.bits(), bits_of_a_whole_run(DType::f32));
}

TEST(Signals, Usr1WhileTheRunIsStillLoadingSavesItsFirstStep) {
  const TemporaryFolder folder;
  hold_save_requests();
  std::raise(SIGUSR1);
  TinyRun run;
  run.settings.checkpoint_root = folder / "run";
  run.train();
  EXPECT_EQ(checkpoint_steps(folder / "run"), (std::vector<int64_t>{1, 12}));
}

// Without a folder there is nothing to save to; the step still ends before the run does.
TEST(Signals, ARunWithoutCheckpointsStopsToo) {
  TinyRun run;
  run.samples.before_fill = [](int64_t fills) {
    if (fills == 2) std::raise(SIGTERM);
  };
  EXPECT_TRUE(run.train().stopped_by_signal);
  EXPECT_EQ(run.log.steps.size(), 3U);
}

using SignalsDeathTest = testing::Test;

TEST(SignalsDeathTest, ASecondOneEndsTheProgramAtOnceAndTheLastCheckpointStaysValid) {
  const TemporaryFolder folder;
  for (const int number : {SIGTERM, SIGINT}) {
    const std::string root = folder / std::to_string(number);
    const auto twice = [&] {
      TinyRun run;
      run.settings.checkpoint_root = root;
      run.settings.save_every = 2;
      run.samples.before_fill = [&](int64_t fills) {
        if (fills == 5) std::raise(number), std::raise(number);
      };
      run.train();
    };
    EXPECT_EXIT(twice(), testing::KilledBySignal(number), "");
    EXPECT_EQ(checkpoint_steps(root), (std::vector<int64_t>{2, 4}));
    TinyRun second;
    second.settings.checkpoint_root = root;
    second.train(true);
    EXPECT_EQ(second.bits(), bits_of_a_whole_run(DType::f32));
  }
}

int handled = 0;

TEST(Signals, TheOldHandlersComeBack) {
  const auto old = std::signal(SIGTERM, [](int) { ++handled; });
  TinyRun run;
  run.train();
  std::raise(SIGTERM);
  EXPECT_EQ(handled, 1);
  std::signal(SIGTERM, old);
}

TEST(Resume, RefusesAnotherRunsCheckpoint) {
  const TemporaryFolder folder;
  const auto prepare = [&](TinyRun& run) {
    run.settings.checkpoint_root = folder / "run";
    run.settings.identity["the tokenizer"] = "abc";
  };
  {
    TinyRun run;
    prepare(run);
    run.settings.max_steps = 3;
    run.train();
  }
  const auto message = [&](const std::function<void(TinyRun&)>& change, DType storage) {
    TinyRun run(storage);
    prepare(run);
    change(run);
    try {
      run.train(true);
    } catch (const MismatchError& e) {
      return std::string(e.what());
    }
    return std::string("resumed");
  };
  using Change = std::function<void(TinyRun&)>;
  const std::pair<Change, const char*> changes[] = {
      {[](TinyRun& r) { r.samples.name = "others"; }, "the dataset fingerprint"},
      {[](TinyRun& r) { r.settings.seed = 9; }, "the seed"},
      {[](TinyRun& r) { r.settings.batch_size = 3; }, "the global batch"},
      {[](TinyRun& r) { r.settings.gradient_accumulation_steps = 2; }, "the global batch"},
      {[](TinyRun& r) { r.settings.identity["the tokenizer"] = "abd"; }, "the tokenizer"},
      {[](TinyRun& r) { r.settings.identity["the template"] = "x"; }, "the template"}};
  for (const auto& [change, field] : changes)
    EXPECT_NE(message(change, DType::f32).find(field), std::string::npos)
        << field << ": " << message(change, DType::f32);
  EXPECT_NE(message([](TinyRun&) {}, DType::bf16), "resumed");
  EXPECT_EQ(message([](TinyRun&) {}, DType::f32), "resumed");
}

}  // namespace
}  // namespace cria::test
