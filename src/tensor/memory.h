// Memory that is not the host's: what a Tensor needs of a device to live there.
#pragma once

#include <cstddef>

namespace cria {

/// All functions wait until what they do is done. They throw Error(memory) when there is not enough, and Error(bug) when the
/// device has failed.
class Memory {
 public:
  virtual ~Memory() = default;
  /// `size` > 0 bytes, zeroed, aligned to at least 256. The host must not touch them.
  virtual void* allocate(size_t size) = 0;
  virtual void release(void* bytes) noexcept = 0;
  /// From the host, to the host, and inside this memory. Several threads may call these while no op runs.
  virtual void write(void* to, const void* host, size_t size) = 0;
  virtual void read(void* host, const void* from, size_t size) = 0;
  virtual void copy(void* to, const void* from, size_t size) = 0;
};

}  // namespace cria
