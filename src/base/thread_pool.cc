#include "base/thread_pool.h"

#include <immintrin.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/cpu.h"
#include "base/error.h"

namespace cria {
namespace {

// A waiting worker spins this long before it parks: decode steps come every few hundred
// microseconds.
constexpr auto kSpin = std::chrono::microseconds(50);

template <class Done>
bool spin_until(Done done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  while (std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      _mm_pause();
    }
  }
  return done();
}

// A launcher gives each rank its share of the cores by CRIA_THREADS; under mpirun alone ranks share evenly.
int default_threads() {
  const char* given = std::getenv("CRIA_THREADS");
  if (given == nullptr || *given == 0) return std::max(1, available_cores() / ranks_on_this_host());
  int threads = 0;
  const char* end = given + std::strlen(given);
  const auto [stop, error] = std::from_chars(given, end, threads);
  require(error == std::errc() && stop == end && threads >= 1 && threads <= 4096,
          "CRIA_THREADS is {}, expected 1 to 4096", escaped(given));
  return threads;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  require(threads >= 0 && threads <= 4096, "--threads is {}, expected 0 to 4096", threads);
  if (threads == 0) threads = default_threads();
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
    ++generation_;
  }
  wake_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void ThreadPool::take_items(int worker) {
  for (int64_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) {
    try {
      call_(body_, i, worker);
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      next_ = count_;
    }
  }
}

void ThreadPool::run(int64_t count, Call call, const void* body) {
  call_ = call;
  body_ = const_cast<void*>(body);
  count_ = count;
  next_ = 0;
  if (!workers_.empty() && count > 1) {
    busy_ = static_cast<int>(workers_.size());
    {
      const std::scoped_lock lock(mutex_);
      ++generation_;
    }
    wake_.notify_all();
    take_items(0);
    while (!spin_until([&] { return busy_.load() == 0; })) std::this_thread::yield();
  } else {
    take_items(0);
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::work(int worker) {
  uint64_t seen = 0;
  for (;;) {
    if (!spin_until([&] { return generation_.load() != seen; })) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
    }
    seen = generation_.load();
    if (stop_) return;
    take_items(worker);
    --busy_;
  }
}

}  // namespace cria
