// A whole training run on the emulated GPU: the trainer, its optimizer, and checkpoints that go between device and processor.
#include <gtest/gtest.h>

#include <cmath>

#include "ops_cuda/tested_device.h"
#include "train/evaluate.h"
#include "train/tiny_run.h"

namespace cria::test {
namespace {

/// Twelve steps of two micro batches, on the processor or on the device.
struct DeviceRun : TinyRun {
  DeviceRun(DType storage, ops::Device* device, std::string root = {}) : TinyRun(storage, device) {
    settings.epochs = 4;
    settings.gradient_accumulation_steps = 2;
    settings.schedule.lr = 1e-3;
    settings.checkpoint_root = std::move(root);
    settings.save_every = 5;
    settings.async_save = true;  // must not matter
  }
  TrainResult train(int64_t steps = 0, bool resume = false) {
    settings.max_steps = steps;
    return TinyRun::train(resume);
  }
};

class TrainingOnDevice : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Storage, TrainingOnDevice,
                         ::testing::Values(DType::f32, DType::bf16, DType::f16),
                         [](const auto& param) { return std::string(name_of(param.param)); });

// Losses near 3.4: of f32 sums a few units of the last place after 12 steps; with 16-bit activations a token's loss moves by 2^-8
// (2^-11) of its logits at each of a dozen roundings.
TEST_P(TrainingOnDevice, ReachesTheProcessorsLosses) {
  DeviceRun here(GetParam(), nullptr), there(GetParam(), &ops::device());
  here.train();
  // Closed: the host dies where it follows a pointer into the device's memory.
  ops::close_device(true);
  there.train();
  ops::close_device(false);
  ASSERT_EQ(there.log.steps.size(), 12U);
  const double tolerance = GetParam() == DType::f32 ? 2e-5 : GetParam() == DType::f16 ? 2e-3 : 2e-2;
  for (size_t s = 0; s < 12; ++s) {
    EXPECT_NEAR(there.log.steps[s].loss, here.log.steps[s].loss, tolerance) << s;
    EXPECT_NEAR(there.log.steps[s].grad_norm / here.log.steps[s].grad_norm, 1,
                GetParam() == DType::f32 ? 1e-4 : 3e-2);
  }
  EXPECT_LT(there.log.steps.back().loss, there.log.steps.front().loss);
}

TEST_P(TrainingOnDevice, ResumesBitForBitFromItsOwnCheckpoints) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  DeviceRun whole(GetParam(), &ops::device());
  whole.train();
  DeviceRun(GetParam(), &ops::device(), folder.path()).train(7);
  DeviceRun second(GetParam(), &ops::device(), folder.path());
  second.train(0, true);
  EXPECT_EQ(second.log.steps.size(), 5U);
  EXPECT_EQ(second.bits(), whole.bits());
}

// One format: what the device saved, the processor loads, and back, with every bit.
TEST_P(TrainingOnDevice, CheckpointsGoBetweenDeviceAndProcessor) {
  const TemporaryFolder from_there = TemporaryFolder::in_memory(),
                        from_here = TemporaryFolder::in_memory();
  DeviceRun there(GetParam(), &ops::device(), from_there.path());
  there.train(3);
  DeviceRun here(GetParam(), nullptr, from_there.path());
  here.train(3, true);  // no step is left
  EXPECT_EQ(here.bits(), there.bits());
  EXPECT_TRUE(here.log.steps.empty());
  DeviceRun other(GetParam(), nullptr, from_here.path());
  other.train(2);
  DeviceRun back(GetParam(), &ops::device(), from_here.path());
  back.train(2, true);
  EXPECT_EQ(back.bits(), other.bits());
  // And it goes on from there.
  back.train(4, true);
  EXPECT_EQ(back.log.steps.size(), 2U);
}

TEST(EvaluationOnDevice, GivesTheProcessorsPerplexity) {
  DeviceRun here(DType::f32, nullptr), there(DType::f32, &ops::device());
  const auto perplexity = [](DeviceRun& run) {
    return evaluate(run.config, run.state.weights, DType::f32, run.samples, 5, run.exec).perplexity;
  };
  EXPECT_NEAR(perplexity(there) / perplexity(here), 1, 1e-5);
}

}  // namespace
}  // namespace cria::test
