// The emulated GPU for tests, and the way of matrices there and back.
#pragma once

#include <memory>

#include "base/thread_pool.h"
#include "ops/cuda/device.h"
#include "ops/exec.h"
#include "ops/window.h"
#include "ops_cuda/emulation/block.h"
#include "ops_cuda/fake/fake_cuda.h"

namespace cria::ops {

inline ThreadPool& pool() {
  static ThreadPool p(1);
  return p;
}
inline Device& device() {
  static const std::unique_ptr<Device> d = cuda::open_device(0);
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
  emulation::set_order(emulation::Order::descending);
  const Tensor descending = body().back();
  emulation::set_order(emulation::Order::ascending);
  Tensor ascending = body().back();
  EXPECT_TRUE(same_bits(descending, ascending)) << "the order of threads shows";
  return ascending;
}

}  // namespace cria::ops
