// Bytes between the host's memory and the device's, by way of memory that the device reads and writes itself ("pinned"), in
// pieces: the host copies one piece while the device moves another, and several threads do so side by side.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <mutex>
#include <vector>

namespace cria::cuda {

class Moves {
 public:
  /// Everything moves on `stream`, so after what that was asked for before.
  Moves(int device, cudaStream_t stream) : device_(device), stream_(stream) {}
  ~Moves();
  Moves(const Moves&) = delete;
  Moves& operator=(const Moves&) = delete;

  // Both wait until all bytes are there. Any thread may call them.
  void to_device(void* to, const void* host, size_t size);
  void to_host(void* host, const void* from, size_t size);

 private:
  /// A piece under way.
  struct Slot {
    std::byte* pinned = nullptr;
    cudaEvent_t moved = nullptr;  // the device is done with `pinned`
  };
  /// The two slots of a call, which takes them and gives them back.
  class Pair;
  void move(void* to, const void* from, size_t size, cudaMemcpyKind kind);

  int device_;
  cudaStream_t stream_;
  std::mutex mutex_;
  std::vector<Slot> idle_;
};

}  // namespace cria::cuda
