// A fixed team of threads for parallel loops. Work is cut by shape, never by thread count, so a
// result cannot depend on how many threads there are.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace cria {

class ThreadPool {
 public:
  /// `threads` counts the caller, who works too; 0 means CRIA_THREADS, else one per
  /// physical core, divided by the ranks that share the host. With CRIA_PIN=1 each worker keeps to a core of its own, where the
  /// system allows it; without, they go where there is room, which is best beside other programs. Throws UsageError unless it is 0
  /// to 4096, or CRIA_THREADS 1 to 4096, and Error(memory) where the system does not let so many start.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(i) for i in [0, count), count < 2^32 - 1, in any order and on any thread; returns when all are done.
  /// The first exception is thrown again here. Calls do not nest.
  template <class Body>
  void parallel_for(int64_t count, Body&& body) {
    run(
        count,
        [](void* b, int64_t i, int /*worker*/) {
          (*static_cast<std::remove_reference_t<Body>*>(b))(i);
        },
        &body);
  }
  /// As parallel_for, and body(i, worker) also learns which of threads() it runs on, for scratch
  /// memory.
  template <class Body>
  void parallel_for_worker(int64_t count, Body&& body) {
    run(
        count,
        [](void* b, int64_t i, int w) { (*static_cast<std::remove_reference_t<Body>*>(b))(i, w); },
        &body);
  }

 private:
  using Call = void (*)(void* body, int64_t index, int worker);
  void run(int64_t count, Call call, const void* body);
  void end_workers();
  void work(int worker);
  void take_items(int worker, uint32_t loop);
  void wake_workers();
  void finish_items(int64_t count);
  void skip_the_rest(uint32_t loop);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  /// Number of the loop in the upper half, next item in the lower; all ones there when nobody may take any. Whoever comes late,
  /// from another loop even, cannot take an item: so a loop waits for items, never for workers that the system keeps off.
  std::atomic<uint64_t> ticket_{kClosed};
  static constexpr uint64_t kClosed = 0xffffffff;
  std::atomic<int> parked_{0};
  std::atomic<bool> caller_parked_{false}, stop_{false};
  // Of the loop at work; a worker's copies count only if it then gets an item of the same loop.
  std::atomic<Call> call_{nullptr};
  std::atomic<void*> body_{nullptr};
  std::atomic<int64_t> count_{0}, left_{0};
  std::exception_ptr failure_;
};

}  // namespace cria
