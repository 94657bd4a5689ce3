#include <gtest/gtest.h>

#include "train/evaluate.h"
#include "train/tiny_run.h"

namespace cria {
namespace {

/// Samples of which every second trains two tokens and the others six.
class UnevenSamples : public test::RandomSamples {
 public:
  using RandomSamples::RandomSamples;
  void fill(int64_t epoch, int64_t position, int64_t count, Samples& out) override {
    RandomSamples::fill(epoch, position, count, out);
    for (int64_t s = 0; s < count; ++s)
      if ((position + s) / 2 % 2 == 1)
        for (int64_t t = 0; t < 7; ++t) out.targets[static_cast<size_t>(9 * s + t)] = -100;
  }
};

StepReport first_step(SampleSource& samples, bool strict) {
  test::TinyRun run;
  run.settings.gradient_accumulation_steps = 2;
  run.settings.max_steps = 1;
  run.settings.strict_upstream = strict;
  Trainer trainer(run.config, run.state, run.settings, samples, run.exec, run.log);
  trainer.run();
  return run.log.steps.at(0);
}

TEST(StrictUpstream, TellsTheMeanOfTheMicroBatchesMeansAndNotOfAllTokens) {
  UnevenSamples samples(4);
  test::TinyRun run;
  const Evaluation e = evaluate(run.config, run.state.weights, DType::f32, samples, 2, run.exec);
  ASSERT_GT(std::abs(e.recipe_loss - e.loss), 1e-4);
  EXPECT_NEAR(first_step(samples, true).loss, e.recipe_loss, 1e-6);
  EXPECT_NEAR(first_step(samples, false).loss, e.loss, 1e-6);
}

TEST(StrictUpstream, AddsUpTheMicroBatchesGradients) {
  test::RandomSamples samples(4);
  EXPECT_DOUBLE_EQ(first_step(samples, true).grad_norm, 2 * first_step(samples, false).grad_norm);
}

}  // namespace
}  // namespace cria
