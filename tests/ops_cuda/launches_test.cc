// Kernels that are started many at once do the same as kernels that are started one by one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ops/cuda/launch.h"
#include "ops_cuda/fake/fake_cuda.h"

namespace cria::cuda {
namespace {

/// Writes down which kernels ran, in their order.
struct Notes {
  int32_t count;
  int32_t values[500];
};
__global__ void note(Notes* notes, int32_t value) {
  if (threadIdx.x == 0) notes->values[notes->count++] = value;
}
__global__ void note_twice(Notes* notes, int32_t first, int32_t second) {
  if (threadIdx.x != 0) return;
  notes->values[notes->count++] = first;
  notes->values[notes->count++] = second;
}

class KernelsOfAStep : public testing::Test {
 protected:
  KernelsOfAStep() {
    cudaMalloc(&memory_, sizeof(Notes));
    cudaMemsetAsync(memory_, 0, sizeof(Notes), stream_.handle());
  }
  ~KernelsOfAStep() override {
    stream_.wait();
    cudaFree(memory_);
  }
  void run(int32_t value) {
    launch(note, 1, 32, 0, stream_, static_cast<Notes*>(memory_), value);
    expected_.push_back(value);
  }
  void run_twice(int32_t first, int32_t second) {
    launch(note_twice, 1, 64, 0, stream_, static_cast<Notes*>(memory_), first, second);
    expected_.insert(expected_.end(), {first, second});
  }
  /// So many kernels, of which those of `changing` tell the number of the step.
  void step(int32_t kernels, const std::vector<int32_t>& changing = {}) {
    ++steps_;
    stream_.begin_step();
    for (int32_t i = 0; i < kernels; ++i)
      run(std::find(changing.begin(), changing.end(), i) == changing.end() ? i : -steps_);
    stream_.end_step();
  }
  void expect_all_ran_in_order() {
    Notes notes{};
    stream_.download_bytes(memory_, &notes, sizeof(notes));
    EXPECT_EQ(std::vector<int32_t>(notes.values, notes.values + notes.count), expected_);
  }
  /// Since the last call; held since the test began.
  FakeGraphs graphs() {
    const FakeGraphs now = fake_cuda_graphs(), before = std::exchange(before_, now);
    return {now.made - before.made, now.changed - before.changed, now.started - before.started,
            now.held - at_first_.held};
  }

  Stream stream_{0};
  void* memory_ = nullptr;
  std::vector<int32_t> expected_;
  int32_t steps_ = 0;
  const FakeGraphs at_first_ = fake_cuda_graphs();
  FakeGraphs before_ = at_first_;
};

TEST_F(KernelsOfAStep, BecomeGraphsWhenTheyComeAgainAndOnlyWhatChangesIsTold) {
  step(90, {3, 50, 88});  // pieces of 16, 64 and 10
  EXPECT_EQ(graphs().started, 0);
  step(90, {3, 50, 88});
  FakeGraphs now = graphs();
  EXPECT_EQ(now.made, 3);
  EXPECT_EQ(now.started, 3);
  EXPECT_EQ(now.changed, 0);  // they were made with it
  for (int i = 0; i < 3; ++i) {
    step(90, {3, 50, 88});
    now = graphs();
    EXPECT_EQ(now.made, 0);
    EXPECT_EQ(now.started, 3);
    EXPECT_EQ(now.changed, 3);
  }
  expect_all_ran_in_order();
}

TEST_F(KernelsOfAStep, MayBeOthersThanBefore) {
  for (const int32_t kernels : {20, 20, 20, 30, 30, 30, 5, 5, 20, 20}) step(kernels);
  EXPECT_EQ(graphs().held, 2);  // of the last two pieces
  for (int i = 0; i < 3; ++i) {
    stream_.begin_step();
    for (int32_t k = 0; k < 10; ++k) {
      if ((k + i) % 2 == 0) run(k);
      if ((k + i) % 2 == 1) run_twice(k, i);
    }
    stream_.end_step();
  }
  EXPECT_GT(graphs().changed, 0);
  expect_all_ran_in_order();
}

TEST_F(KernelsOfAStep, StayInOrderWithWhatIsNoKernel) {
  for (int i = 0; i < 4; ++i) {
    stream_.begin_step();
    run(1);
    run(2);
    cudaMemsetAsync(memory_, 0, sizeof(int32_t), stream_.handle());  // everything forgotten
    expected_.clear();
    run(3);
    expect_all_ran_in_order();
    run(4);
    stream_.end_step();
    run(5);
    expect_all_ran_in_order();
  }
}

// As when an exception leaves a step.
TEST_F(KernelsOfAStep, WithoutAnEndAreStartedByWhoeverWaits) {
  for (int i = 0; i < 3; ++i) {
    stream_.begin_step();
    run(i);
    EXPECT_TRUE(stream_.keeps_kernels());
  }
  expect_all_ran_in_order();
}

TEST_F(KernelsOfAStep, AreStartedOneByOneOutsideOfSteps) {
  for (int i = 0; i < 3; ++i) {
    run(i);
    EXPECT_FALSE(stream_.keeps_kernels());
  }
  EXPECT_EQ(graphs().started, 0);
  expect_all_ran_in_order();
}

TEST(Graphs, AreGivenBackAndMayBeUnwanted) {
  const int64_t held = fake_cuda_graphs().held, started = fake_cuda_graphs().started;
  setenv("CRIA_CUDA_GRAPHS", "0", 1);
  {
    Stream stream(0);
    void* memory = nullptr;
    cudaMalloc(&memory, sizeof(Notes));
    for (int i = 0; i < 3; ++i) {
      stream.begin_step();
      launch(note, 1, 32, 0, stream, static_cast<Notes*>(memory), 0);
      EXPECT_FALSE(stream.keeps_kernels());
      stream.end_step();
    }
    cudaFree(memory);
  }
  setenv("CRIA_CUDA_GRAPHS", "on", 1);
  EXPECT_THROW(Stream(0), UsageError);
  unsetenv("CRIA_CUDA_GRAPHS");
  EXPECT_EQ(fake_cuda_graphs().held, held);
  EXPECT_EQ(fake_cuda_graphs().started, started);
}

}  // namespace
}  // namespace cria::cuda
