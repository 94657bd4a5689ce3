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
  /// available core, divided by the ranks that share the host. Throws UsageError unless it is 0 to 4096, or CRIA_THREADS 1 to 4096.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(i) for i in [0, count), in any order and on any thread; returns when all are done.
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
  void work(int worker);
  void take_items(int worker);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> busy_{0};
  std::atomic<bool> stop_{false};
  Call call_ = nullptr;
  void* body_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_{0};
  std::exception_ptr failure_;
};

}  // namespace cria
