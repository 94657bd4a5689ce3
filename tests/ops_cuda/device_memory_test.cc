// What the stand-in for the CUDA runtime counts while the model trains.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/error.h"
#include "model/llama.h"
#include "model/packed_weights.h"
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

// Kernels and copies of a decode step, of which a layer has 12 kernels: at hundreds of tokens a second each counts,
// and each whose arguments change from step to step.
TEST(ModelOnDeviceMemory, ADecodeStepIsFewKernelsAndNoUpload) {
  const auto work_of = [](int64_t layers, const auto& decoder_of) {
    LlamaConfig config = block_config(false);
    config.num_hidden_layers = layers;
    ops::Exec exec = ops::on_device();
    return decoder_of(config, exec, [&](Decoder& decoder) {
      KvCache first(config, DType::f32, exec.device), second(config, DType::f32, exec.device);
      KvCache* const caches[] = {&first, &second};
      Tensor logits(DType::f32, 2, config.vocab_size, exec.device);
      const std::vector<int32_t> ids = {1, 2};
      decoder.step(ids, caches, logits);
      decoder.step(ids, caches, logits);
      const int64_t before = fake_cuda_work();
      const FakeGraphs graphs = fake_cuda_graphs();
      decoder.step(ids, caches, logits);
      // Turning by the positions, appending to the caches, and attention in two steps, besides the embedding.
      EXPECT_LE(fake_cuda_graphs().changed - graphs.changed, layers * 4 + 1);
      EXPECT_GT(fake_cuda_graphs().started, graphs.started);
      return fake_cuda_work() - before;
    });
  };
  const auto plain = [](const LlamaConfig& config, ops::Exec& exec, const auto& count) {
    const ParamArena weights =
        random_weights(config, DType::f32, ops::pool()).copy_to(&ops::device());
    Decoder decoder(config, weights, DType::f32, exec);
    return count(decoder);
  };
  const auto packed = [](const LlamaConfig& config, ops::Exec& exec, const auto& count) {
    std::vector<DType> types;
    for (const Param& p : llama_params(config))
      types.push_back(p.is_norm() ? DType::f32 : DType::q8_0);
    const PackedWeights weights(config, whole_model(config), types, &ops::device());
    Decoder decoder(weights, DType::f32, exec);
    return count(decoder);
  };
  const int64_t of_plain = work_of(1, plain), of_packed = work_of(1, packed);
  EXPECT_EQ(work_of(3, plain) - of_plain, 2 * 12);
  EXPECT_EQ(work_of(3, packed) - of_packed, 2 * 16);  // x is rounded four times more
  EXPECT_LE(of_plain, 12 + 3);                        // the embedding, a norm, the head
  EXPECT_LE(of_packed, 16 + 4);
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
