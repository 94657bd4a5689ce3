// Memory an op needs while it runs. It belongs to the calling thread and stays for the next call,
// so that training and decode steps allocate nothing after warm-up.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/tensor.h"

namespace cria::ops {

/// A buffer that grows and never shrinks; contents are whatever the last call left. Make it
/// `thread_local` in the function that uses it: one per call site and calling thread.
class Scratch {
 public:
  /// At least `count` floats, 64-byte aligned. Throws Error(memory).
  float* floats(int64_t count) {
    if (buffer_.cols() < count) {
      buffer_ = {};
      buffer_ = Tensor(DType::f32, 1, std::max<int64_t>(count, 1024));
    }
    return static_cast<float*>(buffer_.view().data);
  }

 private:
  Tensor buffer_;
};

}  // namespace cria::ops
