// Memory of a device whose rows ranks exchange: what sums over ranks (comm/comm.h) need of it.
#pragma once

#include <span>

#include "tensor/memory.h"
#include "tensor/tensor.h"

namespace cria {

/// convert() and sum_in_order() return before they have run; they run in the order of the calls, with the device's other work.
class RowMemory : public Memory {
 public:
  /// Returns when all that was asked for before has run. Throws Error(bug) when some of it has failed.
  virtual void wait() = 0;
  /// Whether this byte lies here, and not in the host's memory.
  [[nodiscard]] virtual bool holds(const void* byte) = 0;
  /// to = from, of one shape.
  virtual void convert(ConstView from, View to) = 0;
  /// out = ((terms[0] + terms[1]) + terms[2]) + ..., in f32, rounded once. Shapes and dtypes (f32, f16, bf16) agree; out may be one
  /// of the terms, and else lies apart from them.
  virtual void sum_in_order(std::span<const ConstView> terms, View out) = 0;
};

}  // namespace cria
