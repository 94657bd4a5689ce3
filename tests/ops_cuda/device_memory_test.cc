// What the stand-in for the CUDA runtime counts while the model trains.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/error.h"
#include "model/llama.h"
#include "model/random_model.h"
#include "ops_cuda/tested_device.h"

namespace cria::testing {
namespace {

// Forward and backward wait for nothing but the losses; and after a first step nothing is allocated.
TEST(ModelOnDeviceMemory, WaitsOnceAStepAndAllocatesNothingLater) {
  const LlamaConfig config = odd_config(false);
  const ParamArena weights =
      random_weights(config, DType::f32, ops::pool()).copy_to(&ops::device());
  ParamArena grads = ParamArena(config, DType::f32).copy_to(&ops::device());
  const OwnedBatch batch = random_batch({30}, config.vocab_size, 5);
  ops::Exec exec = ops::on_device();
  Trainee trainee(config, weights, DType::f32, Recompute::none, exec);
  std::vector<float> losses(30);
  const auto step = [&] { trainee.forward_backward(batch.batch(), 1, losses, grads, true); };
  step();
  step();
  ops::device().wait();
  const int allocations = fake_cuda_allocations();
  const int64_t waits = fake_cuda_waits();
  step();
  EXPECT_EQ(fake_cuda_allocations(), allocations);
  EXPECT_EQ(fake_cuda_waits(), waits + 1);
}

// Several pieces there and back, by several threads at once, and a size that ends within a piece.
TEST(DeviceMemory, MovesLargePiecesOfSeveralThreads) {
  constexpr size_t kThreads = 3, kFloats = (size_t{9} << 20) / sizeof(float) + 7;
  std::vector<Tensor> back;
  for (size_t i = 0; i < kThreads; ++i) back.emplace_back(DType::f32, 1, int64_t{kFloats});
  std::vector<Tensor> there;
  for (size_t i = 0; i < kThreads; ++i)
    there.emplace_back(DType::f32, 1, int64_t{kFloats}, &ops::device());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (const uint64_t seed : {1, 2}) {  // the second finds memory of the first
        const Tensor sent = ops::random_matrix(DType::f32, 1, int64_t{kFloats}, 10 * seed + i);
        ops::device().write(there[i].view().data, sent.view().data, sent.size_bytes());
        back[i].span<float>()[0] = 7;
        ops::device().read(back[i].view().data, there[i].view().data, sent.size_bytes());
        EXPECT_TRUE(ops::same_bits(back[i], sent));
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

// One of the errors that a person meets: the model does not fit.
TEST(ModelOnDeviceMemory, RunningOutOfItIsAnError) {
  fake_cuda_set_memory(1000);
  EXPECT_THROW(Tensor(DType::f32, 1, 1000, &ops::device()), Error);
  fake_cuda_set_memory(-1);
}

}  // namespace
}  // namespace cria::testing
