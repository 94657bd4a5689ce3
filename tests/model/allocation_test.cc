// A step takes no memory that an earlier one did not take: neither blocks (mapped) nor objects (operator new). One thread: another
// takes its scratch when it first gets an item, which may be in any step.
#include <atomic>
#include <cstdlib>
#include <new>

#include "model/random_model.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {
std::atomic<int64_t> g_allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  if (void* p = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded)) return p;
  throw std::bad_alloc();
}
}  // namespace

// g++ sees one of these inlined without the other, and takes free() for a mistake.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
// Of the whole test program; all other forms call these.
void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace cria::testing {
namespace {

template <class Step>
int64_t allocations_of(Step&& step) {
  const int64_t before = g_allocations.load();
  step();
  return g_allocations.load() - before;
}

TEST(Allocation, IsCounted) {
  EXPECT_GE(allocations_of([] { std::vector<int> some(1000); }), 1);
}

class AllocationOf : public ::testing::TestWithParam<Recompute> {};
INSTANTIATE_TEST_SUITE_P(All, AllocationOf,
                         ::testing::Values(Recompute::none, Recompute::gate_up, Recompute::full));

TEST_P(AllocationOf, TrainingIsNothingFromTheSecondStepOn) {
  ThreadPool pool(1);
  ops::Exec exec{pool, false};
  for (const DType compute : {DType::f32, DType::bf16}) {
    const LlamaConfig config = odd_config(true);
    const ParamArena weights = random_weights(config, DType::f32, pool);
    Trainee trainee(config, weights, compute, GetParam(), exec);
    ParamArena grads(config, DType::f32);
    const OwnedBatch large = random_batch({90, 17}, config.vocab_size, 3);
    const OwnedBatch small = random_batch({11, 7, 1}, config.vocab_size, 4);
    std::vector<float> losses(static_cast<size_t>(large.tokens()));
    const std::span<float> few = std::span(losses).first(static_cast<size_t>(small.tokens()));
    const auto step = [&] {
      trainee.forward_backward(large.batch(), 1.0f, losses, grads, true);
      trainee.forward_backward(small.batch(), 1.0f, few, grads, false);
    };
    step();
    const size_t blocks = trainee.activation_bytes();
    EXPECT_EQ(allocations_of(step), 0);
    EXPECT_EQ(trainee.activation_bytes(), blocks);
  }
}

TEST(AllocationOfDecoding, IsNothingUntilACacheGrows) {
  ThreadPool pool(1);
  ops::Exec exec{pool, false};
  const LlamaConfig config = odd_config(false);
  const ParamArena weights = random_weights(config, DType::bf16, pool);
  Decoder decoder(config, weights, DType::bf16, exec);
  KvCache cache(config, DType::bf16);
  Tensor logits(DType::f32, 1, config.vocab_size);
  cache.reserve(100);
  decoder.prefill(random_ids(40, config.vocab_size, 1), cache, logits.view());
  KvCache* const caches[] = {&cache};
  const int32_t id[] = {5};
  decoder.step(id, caches, logits.view());
  EXPECT_EQ(allocations_of([&] {
              for (int i = 0; i < 20; ++i) decoder.step(id, caches, logits.view());
            }),
            0);
}

}  // namespace
}  // namespace cria::testing

#endif
