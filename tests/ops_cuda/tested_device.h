// The GPU of a test: an emulated one, or with CRIA_REAL_GPU the first of the machine (tests/gpu). And the way of matrices there and
// back.
#pragma once

#include <memory>

#include "base/thread_pool.h"
#include "ops/cuda_device.h"
#include "ops/exec.h"
#include "ops/window.h"
#ifndef CRIA_REAL_GPU
#include "ops/cuda/device.h"
#include "ops_cuda/emulation/block.h"
#include "ops_cuda/fake/fake_cuda.h"
#endif

namespace cria::ops {

#ifdef CRIA_REAL_GPU
constexpr int kPoolThreads = 0;  // one for each core: what is compared with is computed there
inline std::unique_ptr<Device> open_tested_device() { return open_cuda_device(0); }
/// On a real GPU nobody chooses the order of threads, and the host dies anyway where it follows a pointer into its memory.
inline void threads_descend(bool /*descend*/) {}
inline void close_device(bool /*closed*/) {}
#else
constexpr int kPoolThreads = 1;
inline std::unique_ptr<Device> open_tested_device() { return cuda::open_device(0); }
/// Blocks and threads from the last to the first.
inline void threads_descend(bool descend) {
  emulation::set_order(descend ? emulation::Order::descending : emulation::Order::ascending);
}
/// The host dies when it touches the device's memory.
inline void close_device(bool closed) { fake_cuda_close(closed); }
#endif

inline ThreadPool& pool() {
  static ThreadPool p(kPoolThreads);
  return p;
}
inline Device& device() {
  static const std::unique_ptr<Device> d = open_tested_device();
  return *d;
}
inline Exec on_device() { return {.pool = pool(), .device = &device()}; }
inline Exec reference() { return {.pool = pool(), .reference = true}; }

/// A copy of a host's matrix on the device, with the same gaps between its rows.
class There {
 public:
  explicit There(const Tensor& host) : memory_(host.copy_to(&device())), cols_(host.cols()) {}
  explicit There(const Window& window)
      : memory_(window.memory.copy_to(&device())), cols_(window.memory.cols() - window.gap) {}
  operator View() { return memory_.view().col_range(0, cols_); }       // NOLINT: serves as a matrix
  operator ConstView() { return memory_.view().col_range(0, cols_); }  // NOLINT
  /// All of it, gaps too.
  [[nodiscard]] Tensor back() const { return memory_.copy_to(nullptr); }

 private:
  Tensor memory_;
  int64_t cols_;
};

/// Runs `body`, which returns a matrix of the device, with blocks and threads in both orders: the bits must agree.
template <class Body>
Tensor in_both_orders(Body body) {
  threads_descend(true);
  const Tensor descending = body().back();
  threads_descend(false);
  Tensor ascending = body().back();
  EXPECT_TRUE(same_bits(descending, ascending)) << "the order of threads shows";
  return ascending;
}

}  // namespace cria::ops
