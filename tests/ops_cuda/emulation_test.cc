// That the emulation notices what a GPU would leave undefined: every test here is of a kernel that is wrong, but for the first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda_language.h"
#include "ops/cuda/reduce.h"
#include "ops_cuda/tested_device.h"

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

TEST(Emulation, AddsAtomically) {
  run([] {
    const auto sum = shared_array<int64_t>(0, 1);
    const int i = static_cast<int>(threadIdx.x);
    if (i == 0) sum[0] = 5;
    __syncthreads();
    atomic_add(sum, 0, i);
    __syncthreads();
    if (sum[0] != 5 + 63 * 64 / 2) throw KernelFault("the sum is wrong");
  });
}

TEST(Emulation, NoticesAtomicAdditionsThatOthersDoNotWaitFor) {
  expect_fault([] { atomic_add(shared_array<int64_t>(0, 1), 0, 1); }, "that is not written");
  expect_fault(
      [] {
        const auto sum = shared_array<int64_t>(0, 1);
        if (threadIdx.x == 0) sum[0] = 0;
        __syncthreads();
        atomic_add(sum, 0, 1);
        if (threadIdx.x == 5 && sum[0] == 0) throw KernelFault("a number");
      },
      "without a barrier");
  expect_fault(
      [] {
        const auto sum = shared_array<int64_t>(0, 1);
        if (threadIdx.x != 0) return;
        sum[0] = 0;
        atomic_add(sum, 0, 1);
      },
      "without a barrier");
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
/// A row of eight of 64 x 8 numbers for each thread; `numbers` are 0, 1, 2, ...
constexpr int kRowBytes = kThreads * 16;
const uint16_t* rows_of_eight() {
  alignas(16) static uint16_t numbers[kThreads * 8];
  for (int i = 0; i < kThreads * 8; ++i) numbers[i] = static_cast<uint16_t>(i);
  return numbers;
}

TEST(Emulation, CopiesArriveAndMatricesAreHandedOut) {
  const uint16_t* const from = rows_of_eight();
  run(
      [from] {
        const auto a = shared_array<uint16_t>(0, kThreads * 8);
        const int i = static_cast<int>(threadIdx.x), lane = i % 32;
        start_copy(a, i * 8, from + i * 8, i != 5);
        copies_arrive();
        __syncthreads();
        uint32_t plain[4], turned[4];
        load_matrices(plain, a, i * 8);
        load_matrices_turned(turned, a, i * 8);
        // Row 5 was a copy of nothing.
        const auto number = [&](int row, int col) {
          return row == 5 ? 0u : static_cast<uint32_t>(row * 8 + col);
        };
        for (int m = 0; m < 4; ++m) {
          const int first = i - lane + m * 8, outer = lane / 4, pair = lane % 4 * 2;
          if (plain[m] != (number(first + outer, pair) | number(first + outer, pair + 1) << 16) ||
              turned[m] != (number(first + pair, outer) | number(first + pair + 1, outer) << 16))
            throw KernelFault("a lane has another's numbers");
        }
      },
      kRowBytes);
}

TEST(Emulation, NoticesCopiesThatNobodyWaitsFor) {
  const uint16_t* const from = rows_of_eight();
  const auto read_neighbour = [from](bool arrive, bool barrier) {
    return [=] {
      const auto a = shared_array<uint16_t>(0, kThreads * 8);
      const int i = static_cast<int>(threadIdx.x);
      start_copy(a, i * 8, from + i * 8, true);
      if (arrive) copies_arrive();
      if (barrier) __syncthreads();
      const uint16_t number = a[(i + 1) % kThreads * 8];
      static_cast<void>(number);
      copies_arrive();
    };
  };
  expect_fault(read_neighbour(true, false), "shared memory", kRowBytes);
  expect_fault(read_neighbour(false, true), "without a barrier", kRowBytes);
  expect_fault(
      [from] {
        start_copy(shared_array<uint16_t>(0, kThreads * 8), static_cast<int>(threadIdx.x) * 8, from,
                   true);
      },
      "before its copies arrive", kRowBytes);
  expect_fault(
      [from] {
        start_copy(shared_array<uint16_t>(0, kThreads * 8), static_cast<int>(threadIdx.x) * 8,
                   from + 1, true);
      },
      "not aligned", kRowBytes);
}

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
