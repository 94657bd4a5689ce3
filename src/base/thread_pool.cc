#include "base/thread_pool.h"

#include <immintrin.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/cpu.h"
#include "base/error.h"
#include "base/topology.h"

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

/// A core for each thread; none unless CRIA_PIN asks for it. Ranks that may use the same cores take different ones.
std::vector<int> cores_to_pin(int threads) {
  const char* wanted = std::getenv("CRIA_PIN");
  if (wanted == nullptr || std::strcmp(wanted, "1") != 0) return {};
  std::vector<int> cores = one_per_core(allowed_cpus());
  const auto count = static_cast<int>(cores.size());
  const bool shared = ranks_on_this_host() > 1 && count >= ranks_on_this_host() * threads;
  std::vector<int> mine;
  for (int i = 0; i < threads; ++i)
    mine.push_back(
        cores[static_cast<size_t>(((shared ? rank_on_this_host() * threads : 0) + i) % count)]);
  return mine;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  require(threads >= 0 && threads <= 4096, "--threads is {}, expected 0 to 4096", threads);
  if (threads == 0) threads = default_threads();
  const std::vector<int> cores = cores_to_pin(threads);
  try {
    for (int i = 1; i < threads; ++i)
      workers_.emplace_back([this, i, cpu = cores.empty() ? -1 : cores[static_cast<size_t>(i)]] {
        if (cpu >= 0) pin_to_cpu(cpu);
        work(i);
      });
  } catch (const std::system_error& e) {
    const size_t started = workers_.size() + 1;
    end_workers();
    throw Error(ExitCode::memory, fmt::format("--threads is {}, but only {} could start: {}; try: "
                                              "fewer, or a higher limit (ulimit -u, ulimit -v)",
                                              threads, started, e.code().message()));
  }
}

ThreadPool::~ThreadPool() { end_workers(); }

void ThreadPool::end_workers() {
  stop_ = true;
  {
    const std::scoped_lock lock(mutex_);
    ticket_ += uint64_t{1} << 32;
  }
  wake_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void ThreadPool::take_items(int worker, uint32_t loop) {
  for (;;) {
    uint64_t ticket = ticket_.load();
    const Call call = call_.load();
    void* const body = body_.load();
    const auto item = static_cast<int64_t>(ticket & kClosed);
    if (ticket >> 32 != loop || item >= count_.load()) return;
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1)) continue;
    try {
      call(body, item, worker);
    } catch (...) {
      {
        const std::scoped_lock lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
      skip_the_rest(loop);
    }
    finish_items(1);
  }
}

void ThreadPool::skip_the_rest(uint32_t loop) {
  const uint64_t ticket = ticket_.exchange(uint64_t{loop} << 32 | kClosed);
  const auto next = static_cast<int64_t>(ticket & kClosed);
  if (next < count_.load()) finish_items(count_.load() - next);
}

void ThreadPool::finish_items(int64_t count) {
  if (left_.fetch_sub(count) != count || !caller_parked_.load()) return;
  const std::scoped_lock lock(mutex_);
  done_.notify_one();
}

void ThreadPool::wake_workers() {
  if (parked_.load() == 0) return;
  const std::scoped_lock lock(mutex_);
  wake_.notify_all();
}

void ThreadPool::run(int64_t count, Call call, const void* body) {
  if (workers_.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) call(const_cast<void*>(body), i, 0);
    return;
  }
  check(count < static_cast<int64_t>(kClosed), "a loop of fewer items");
  call_ = call;
  body_ = const_cast<void*>(body);
  count_ = count;
  left_ = count;
  const auto loop = static_cast<uint32_t>((ticket_.load() >> 32) + 1);
  ticket_ = uint64_t{loop} << 32;
  wake_workers();
  take_items(0, loop);
  if (!spin_until([&] { return left_.load() == 0; })) {
    // Sleeping, unlike yielding, leaves the core to whoever holds the last items, and is woken before others get it.
    std::unique_lock lock(mutex_);
    caller_parked_ = true;
    done_.wait(lock, [&] { return left_.load() == 0; });
    caller_parked_ = false;
  }
  ticket_ = uint64_t{loop} << 32 | kClosed;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::work(int worker) {
  uint32_t seen = 0;
  const auto loop = [&] { return static_cast<uint32_t>(ticket_.load() >> 32); };
  for (;;) {
    if (!spin_until([&] { return loop() != seen; })) {
      std::unique_lock lock(mutex_);
      ++parked_;
      wake_.wait(lock, [&] { return loop() != seen; });
      --parked_;
    }
    seen = loop();
    if (stop_) return;
    take_items(worker, seen);
  }
}

}  // namespace cria
