#include "ops/cuda/moves.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "ops/cuda/check.h"

namespace cria::cuda {
namespace {

constexpr size_t kPiece = size_t{4} << 20;
// Below this the runtime's own way is not slower.
constexpr size_t kLeast = size_t{64} << 10;

}  // namespace

class Moves::Pair {
 public:
  explicit Pair(Moves& moves) : moves_(moves) {
    const std::lock_guard lock(moves.mutex_);
    for (Slot& slot : slots_) {
      if (moves.idle_.empty()) break;
      slot = moves.idle_.back();
      moves.idle_.pop_back();
    }
  }
  // After an error a copy may still be under way, and the next owner of the slot would wait for it.
  ~Pair() {
    const std::lock_guard lock(moves_.mutex_);
    for (const Slot& slot : slots_)
      if (slot.pinned != nullptr) moves_.idle_.push_back(slot);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  /// The slot of piece `i`, once the device is done with what it held.
  Slot& at(size_t i) {
    Slot& slot = slots_[i % 2];
    if (slot.pinned == nullptr) {
      if (slot.moved == nullptr) {
        cuda_check(cudaEventCreateWithFlags(&slot.moved, cudaEventDisableTiming),
                   "cudaEventCreateWithFlags");
      }
      void* memory = nullptr;
      cuda_check(cudaMallocHost(&memory, kPiece), "cudaMallocHost");
      slot.pinned = static_cast<std::byte*>(memory);
    }
    wait(slot);
    return slot;
  }
  static void wait(const Slot& slot) {
    if (slot.pinned != nullptr)
      cuda_check(cudaEventSynchronize(slot.moved), "cudaEventSynchronize");
  }
  void wait() const {
    for (const Slot& slot : slots_) wait(slot);
  }

 private:
  Moves& moves_;
  std::array<Slot, 2> slots_{};
};

Moves::~Moves() {
  for (const Slot& slot : idle_) {
    cudaEventSynchronize(slot.moved);
    cudaEventDestroy(slot.moved);
    cudaFreeHost(slot.pinned);
  }
}

void Moves::to_device(void* to, const void* host, size_t size) {
  if (size < kLeast) return move(to, host, size, cudaMemcpyHostToDevice);
  cuda_check(cudaSetDevice(device_), "cudaSetDevice");
  Pair slots(*this);
  for (size_t at = 0, i = 0; at < size; at += kPiece, ++i) {
    const size_t count = std::min(kPiece, size - at);
    const Slot& slot = slots.at(i);
    std::memcpy(slot.pinned, static_cast<const std::byte*>(host) + at, count);
    cuda_check(cudaMemcpyAsync(static_cast<std::byte*>(to) + at, slot.pinned, count,
                               cudaMemcpyHostToDevice, stream_),
               "cudaMemcpyAsync");
    cuda_check(cudaEventRecord(slot.moved, stream_), "cudaEventRecord");
  }
  slots.wait();
}

void Moves::to_host(void* host, const void* from, size_t size) {
  if (size < kLeast) return move(host, from, size, cudaMemcpyDeviceToHost);
  cuda_check(cudaSetDevice(device_), "cudaSetDevice");
  Pair slots(*this);
  const size_t pieces = (size + kPiece - 1) / kPiece;
  const auto count = [&](size_t i) { return std::min(kPiece, size - i * kPiece); };
  // One piece more is asked for than has arrived.
  for (size_t i = 0; i <= pieces; ++i) {
    if (i < pieces) {
      const Slot& slot = slots.at(i);
      cuda_check(cudaMemcpyAsync(slot.pinned, static_cast<const std::byte*>(from) + i * kPiece,
                                 count(i), cudaMemcpyDeviceToHost, stream_),
                 "cudaMemcpyAsync");
      cuda_check(cudaEventRecord(slot.moved, stream_), "cudaEventRecord");
    }
    if (i > 0) {
      const Slot& arrived = slots.at(i - 1);
      std::memcpy(static_cast<std::byte*>(host) + (i - 1) * kPiece, arrived.pinned, count(i - 1));
    }
  }
}

void Moves::move(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  if (size == 0) return;
  cuda_check(cudaMemcpyAsync(to, from, size, kind, stream_), "cudaMemcpyAsync");
  cuda_check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

}  // namespace cria::cuda
