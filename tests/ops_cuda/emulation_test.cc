// That the emulation notices what a GPU would leave undefined: every test here is of a kernel that is wrong, but for the first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda_language.h"
#include "ops/cuda/reduce.h"
#include "ops_cuda/emulated_device.h"

namespace cria::cuda {
namespace {

using emulation::KernelFault;
using emulation::Order;

constexpr int kThreads = 64;

/// Runs a kernel at once, in both orders of threads.
template <class Kernel>
void run(Kernel kernel, int shared_bytes = 1024) {
  for (const Order order : {Order::descending, Order::ascending}) {
    emulation::set_order(order);
    emulation::run_grid({2, 1, 1}, kThreads, shared_bytes, kernel);
  }
}
template <class Kernel>
void expect_fault(Kernel kernel, const char* words, int shared_bytes = 1024) {
  for (const Order order : {Order::descending, Order::ascending}) {
    emulation::set_order(order);
    EXPECT_THAT([&] { emulation::run_grid({2, 1, 1}, kThreads, shared_bytes, kernel); },
                testing::ThrowsMessage<KernelFault>(testing::HasSubstr(words)));
  }
  emulation::set_order(Order::ascending);
}

TEST(Emulation, SumsOverWarpsAndBlocks) {
  run([] {
    const auto space = shared_array<float>(0, 2);
    const float sum = block_sum(static_cast<float>(threadIdx.x), space);
    const float again = block_sum(1.0f, space);
    if (sum != 63 * 64 / 2 || again != 64) throw KernelFault("the sum is wrong");
    const float most = block_max(-static_cast<float>(threadIdx.x), space);
    if (most != 0) throw KernelFault("the maximum is wrong");
  });
}

TEST(Emulation, NoticesADroppedBarrier) {
  expect_fault(
      [] {
        const auto a = shared_array<float>(0, kThreads);
        const int i = static_cast<int>(threadIdx.x);
        a[i] = 1;
        const float neighbour = a[(i + 1) % kThreads];
        static_cast<void>(neighbour);
      },
      "shared memory");
}

TEST(Emulation, NoticesThatReadersAreNotWaitedFor) {
  expect_fault(
      [] {
        const auto a = shared_array<float>(0, kThreads);
        const int i = static_cast<int>(threadIdx.x);
        a[i] = 1;
        __syncthreads();
        const float neighbour = a[(i + 1) % kThreads];
        a[i] = neighbour;
      },
      "without a barrier");
}

TEST(Emulation, NoticesTwoWriters) {
  expect_fault([] { shared_array<float>(0, 1)[0] = 1; }, "written without a barrier");
}

TEST(Emulation, NoticesMemoryThatNobodyWrote) {
  expect_fault(
      [] {
        const float x = shared_array<float>(0, 8)[3];
        static_cast<void>(x);
      },
      "before it is written");
}

TEST(Emulation, NoticesAccessesBeyondAnArrayAndArraysBeyondTheBlock) {
  expect_fault([] { shared_array<float>(0, 8)[8] = 1; }, "element 8 of a shared array of 8");
  expect_fault([] { shared_array<float>(1008, 8)[0] = 1; }, "of 1024 bytes");
}

TEST(Emulation, NoticesABarrierThatSomeThreadsSkip) {
  expect_fault(
      [] {
        if (threadIdx.x != 5) __syncthreads();
      },
      "not all threads reach");
}

TEST(Emulation, NoticesThreadsAtDifferentBarriers) {
  expect_fault(
      [] {
        if (threadIdx.x < 32) {
          __syncthreads();
        } else {
          __syncthreads();
        }
      },
      "not all threads reach");
}

TEST(Emulation, NoticesAWarpOperationThatSomeLanesSkip) {
  expect_fault(
      [] {
        if (threadIdx.x % 32 != 7) static_cast<void>(warp_sum(1.0f));
      },
      "not all lanes reach");
}

TEST(Emulation, NoticesLanesInDifferentOperations) {
  expect_fault(
      [] {
        if (threadIdx.x % 2 == 0) {
          static_cast<void>(__shfl_xor_sync(0xffffffffu, 1, 1));
        } else {
          static_cast<void>(__shfl_xor_sync(0xffffffffu, 1, 1));
        }
      },
      "meet at lines");
}

// Row r of A is in lanes 4 (r % 8) .., so a kernel that takes the lanes' parts for another layout gets other numbers.
TEST(Emulation, MultipliesFragmentsAsTensorCoresDo) {
  run([] {
    const int lane = static_cast<int>(threadIdx.x) % 32, group = lane / 4, pair = lane % 4 * 2;
    // a[i][k] = i - k, b[k][j] = k == j ? 2 : 0, both exact in bf16: d[i][j] = 2 (i - j), and 1 was there.
    const auto pair_of_a = [](int i, int k) {
      return static_cast<uint32_t>(bf16_bits(static_cast<float>(i - k))) |
             static_cast<uint32_t>(bf16_bits(static_cast<float>(i - k - 1))) << 16;
    };
    const auto pair_of_b = [](int k, int j) {
      return static_cast<uint32_t>(bf16_bits(k == j ? 2.0f : 0.0f)) |
             static_cast<uint32_t>(bf16_bits(k + 1 == j ? 2.0f : 0.0f)) << 16;
    };
    const uint32_t a[4] = {pair_of_a(group, pair), pair_of_a(group + 8, pair),
                           pair_of_a(group, pair + 8), pair_of_a(group + 8, pair + 8)};
    const uint32_t b[2] = {pair_of_b(pair, group), pair_of_b(pair + 8, group)};
    float d[4] = {1, 1, 1, 1};
    mma_bf16(d, a, b);
    for (int e = 0; e < 4; ++e) {
      const int i = group + e / 2 * 8, j = pair + e % 2;
      if (d[e] != static_cast<float>(1 + 2 * (i - j))) throw KernelFault("the product is wrong");
    }
  });
}

}  // namespace
}  // namespace cria::cuda
