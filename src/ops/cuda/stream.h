// The stream on which a device's ops run one after another, and the memory that ops need while they run.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/cuda/launches.h"

namespace cria::cuda {

/// Throws UsageError when CUDA does not start.
int count_devices();

/// Not safe for several threads. Nothing waits for the device but what says so; after some steps nothing is allocated.
class Stream {
 public:
  /// Throws Error(usage) without such a device, or when it is older than compute capability 8.0.
  explicit Stream(int device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// For whatever is no kernel: kernels that are kept back have been started.
  [[nodiscard]] cudaStream_t handle() {
    launches_.start(stream_);
    return stream_;
  }
  void launch(const Launch& what) { launches_.add(what, stream_); }
  /// A step that repeats (launches.h).
  void begin_step() { launches_.begin_step(); }
  void end_step() {
    launches_.end_step();
    launches_.start(stream_);
  }
  [[nodiscard]] bool keeps_kernels() const { return launches_.keeps_any(); }

  /// Whatever scratch() and upload() gave before is given again from here on.
  void begin_op();

  /// Memory of the device until the op ends: `count` elements, 256-byte aligned, contents arbitrary.
  template <class T>
  T* scratch(int64_t count) {
    return static_cast<T*>(scratch_bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  /// A copy of host numbers for the kernels that follow, until the op ends. The span may go at once.
  template <class T>
  const T* upload(std::span<const T> numbers) {
    return static_cast<const T*>(upload_bytes(numbers.data(), numbers.size_bytes()));
  }
  /// Waits.
  template <class T>
  void download(const T* from, std::span<T> to) {
    download_bytes(from, to.data(), to.size_bytes());
  }
  void download_bytes(const void* from, void* to, size_t size);
  void wait();

 private:
  struct Block {
    std::byte* memory;
    size_t size;
  };
  void* scratch_bytes(size_t size);
  const void* upload_bytes(const void* from, size_t size);

  cudaStream_t stream_ = nullptr;
  Launches launches_;
  // Scratch: a block, and further ones while an op needs more than ever before.
  std::vector<Block> blocks_;
  size_t used_ = 0;   // of the last block
  size_t total_ = 0;  // that this op has asked for
  // Host memory that uploads are copied from, filled from front to back; at its end the device must have caught up.
  std::byte* staging_ = nullptr;
  size_t staging_size_ = 0, staging_used_ = 0;
};

}  // namespace cria::cuda
