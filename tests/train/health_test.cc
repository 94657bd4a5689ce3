// Steps whose numbers are not finite, and the loss scale that f16 needs.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "train/tiny_run.h"

namespace cria::test {
namespace {

using Kind = LossScaleSettings::Kind;

// Makes the steps of these numbers (from 1) not finite: one norm's weight is infinite while they last.
void poison(TinyRun& run, const std::set<int64_t>& steps) {
  float* weight = static_cast<float*>(run.state.weights[run.state.weights.index().norm()].data);
  run.samples.before_fill = [weight, steps, kept = std::optional<float>()](int64_t fills) mutable {
    if (kept) *weight = *std::exchange(kept, std::nullopt);
    if (!steps.contains(fills + 1)) return;
    kept = *weight;
    *weight = std::numeric_limits<float>::infinity();
  };
}

std::string failure_of(TinyRun& run) {
  try {
    run.train();
  } catch (const Error& e) {
    EXPECT_EQ(e.code, ExitCode::numbers);
    return e.what();
  }
  return "";
}

TEST(NonFinite, StepsAreSkippedAndCounted) {
  TinyRun run;
  poison(run, {2, 3, 5, 7, 8});
  const TrainResult result = run.train();
  EXPECT_EQ(result.batches, 12);
  EXPECT_EQ(result.skipped, 5);
  EXPECT_EQ(result.updates, 7);
  for (const StepReport& s : run.log.steps)
    EXPECT_EQ(s.overflow, (std::set<int64_t>{2, 3, 5, 7, 8}).contains(s.batch)) << s.batch;
  for (const float w : std::span(static_cast<const float*>(run.state.weights.all().data),
                                 run.state.weights.size_bytes() / sizeof(float)))
    ASSERT_TRUE(std::isfinite(w));
}

// The rate is looked up by updates: a skipped step does not use up any of the schedule.
TEST(NonFinite, ASkippedStepChangesNothingButTheCount) {
  TinyRun run;
  run.settings.schedule.kind = Schedule::Kind::cosine;
  run.settings.schedule.total_steps = 12;
  run.settings.max_steps = 1;
  const std::string before = run.bits();
  poison(run, {1});
  EXPECT_EQ(run.train().skipped, 1);
  run.samples.before_fill(99);  // heals the weight
  EXPECT_EQ(run.bits(), before);
}

TEST(NonFinite, TheThirdInARowEndsTheRun) {
  TinyRun run;
  const TemporaryFolder folder;
  run.settings.checkpoint_root = folder / "run";
  run.settings.save_every = 1;
  poison(run, {2, 4, 5, 6, 7});
  EXPECT_NE(failure_of(run).find("terminate training"), std::string::npos);
  EXPECT_EQ(run.log.steps.size(), 6U);
}

TEST(NonFinite, TwoBeforeAndOneAfterAResumeAreThree) {
  const TemporaryFolder folder;
  TinyRun first;
  first.settings.checkpoint_root = folder / "run";
  first.settings.max_steps = 5;
  poison(first, {4, 5});
  first.train();
  TinyRun second;
  second.settings.checkpoint_root = folder / "run";
  Trainer trainer(second.config, second.state, second.settings, second.samples, second.exec,
                  second.log);
  ASSERT_TRUE(trainer.resume());
  *static_cast<float*>(second.state.weights.all().data) = NAN;
  EXPECT_THROW(trainer.run(), Error);
  EXPECT_EQ(second.log.steps.size(), 1U);
}

// Powers of two move exponents only: nothing is rounded, whatever the scale.
TEST(LossScaleInARun, APowerOfTwoChangesNoBit) {
  std::string bits[2];
  for (int i = 0; i < 2; ++i) {
    TinyRun run;
    run.settings.loss_scale = {.kind = Kind::dynamic, .value = i == 0 ? 1.0 : 4096.0, .window = 4};
    EXPECT_EQ(run.train().skipped, 0);
    bits[i] = run.bits();
  }
  EXPECT_EQ(bits[0], bits[1]);
}

TEST(LossScaleInARun, F16OverflowsShrinkItAndSkipTheStepUntilItFits) {
  TinyRun run(DType::f16);
  run.settings.loss_scale = {.kind = Kind::dynamic, .value = 0x1p24, .window = 1000};
  const TrainResult result = run.train();
  EXPECT_GT(result.skipped, 3) << "more in a row than a run survives at the smallest scale";
  EXPECT_GT(result.updates, 0);
  EXPECT_EQ(result.skipped + result.updates, 12);
  double scale = 0x1p24;
  bool fitted = false;
  for (const StepReport& s : run.log.steps) {
    EXPECT_EQ(s.loss_scale, scale) << s.batch;
    if (s.overflow) scale /= 2;
    EXPECT_TRUE(std::isfinite(s.loss)) << "the loss itself is not scaled";
    fitted |= !s.overflow;
    EXPECT_EQ(!s.overflow, fitted) << "once it fits it goes on fitting";
    EXPECT_EQ(std::isfinite(s.grad_norm), fitted);
  }
}

TEST(LossScaleInARun, F16TrainsLikeF32) {
  TinyRun wide, narrow(DType::f16);
  narrow.settings.loss_scale = {.kind = Kind::dynamic, .value = 1024, .window = 3};
  EXPECT_EQ(narrow.train().skipped, 0);
  wide.train();
  EXPECT_EQ(narrow.log.steps.back().loss_scale, 1024 * 8) << "three windows of three steps";
  for (size_t i = 0; i < 12; ++i)
    // f16 keeps 11 bits: 2^-11 relative on numbers about 3.4, ten roundings deep.
    EXPECT_NEAR(narrow.log.steps[i].loss, wide.log.steps[i].loss, 3.4 * 10 / 2048) << i;
}

TEST(LossScaleInARun, OverflowsEndTheRunOnlyAtTheSmallestScale) {
  TinyRun run;
  run.settings.loss_scale = {.kind = Kind::dynamic, .value = 16, .window = 1000};
  poison(run, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  EXPECT_NE(failure_of(run).find("terminate training"), std::string::npos);
  EXPECT_EQ(run.log.steps.size(), 7U) << "16 8 4 2, then three at 1";
  EXPECT_EQ(run.log.steps.back().loss_scale, 1);
}

TEST(LossScaleInARun, ResumesWhereItWas) {
  const TemporaryFolder folder;
  const auto prepare = [&](TinyRun& run) {
    run.settings.loss_scale = {.kind = Kind::dynamic, .value = 0x1p26, .window = 3};
  };
  TinyRun whole(DType::f16);
  prepare(whole);
  whole.train();
  for (int64_t step = 1; step < 12; ++step) {
    TinyRun first(DType::f16), second(DType::f16);
    for (TinyRun* run : {&first, &second}) {
      prepare(*run);
      run->settings.checkpoint_root = folder / std::to_string(step);
    }
    first.settings.max_steps = step;
    first.train();
    second.train(true);
    EXPECT_EQ(second.bits(), whole.bits()) << step;
    EXPECT_EQ(second.log.steps.back().loss_scale, whole.log.steps.back().loss_scale) << step;
  }
}

TEST(Accumulation, PartsOfAStepAreOneBatch) {
  TinyRun whole, parts;
  whole.settings.batch_size = 4;
  parts.settings.gradient_accumulation_steps = 2;
  whole.train();
  parts.train();
  ASSERT_EQ(parts.log.steps.size(), whole.log.steps.size());
  for (size_t i = 0; i < whole.log.steps.size(); ++i) {
    EXPECT_NEAR(parts.log.steps[i].loss, whole.log.steps[i].loss, 1e-5);
    EXPECT_NEAR(parts.log.steps[i].grad_norm, whole.log.steps[i].grad_norm, 1e-5);
  }
}

}  // namespace
}  // namespace cria::test
