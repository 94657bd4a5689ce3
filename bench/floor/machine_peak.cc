// What this machine can do at most, as JSON: fused multiply-adds in registers, and reading memory, with 1 to N threads.
// Stands alone, for tools/bench_floor.py:  c++ -O3 -march=native -pthread machine_peak.cc && ./a.out 2
#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <thread>
#include <vector>

namespace {

constexpr size_t kBytesPerThread = size_t{512} << 20;  // far more than any cache
constexpr int kChains = 12, kSteps = 1 << 22;  // chains hide the latency of 4 cycles on 2 units

// 16 floats an operation, as two of 8 where the processor has no wider ones.
typedef float Floats __attribute__((vector_size(64)));
typedef uint64_t Words __attribute__((vector_size(64)));

float multiply_add(int thread) {
  Floats sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = Floats{} + static_cast<float>(thread + i);
  const Floats x = Floats{} + 0.999f, y = Floats{} + 0.001f;
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = sums[i] * x + y;
  }
  Floats total = {};
  for (const Floats& s : sums) total += s;
  float sum = 0;
  for (int i = 0; i < 16; ++i) sum += total[i];
  return sum;
}

float read_all(const std::byte* memory) {
  const auto* words = reinterpret_cast<const Words*>(memory);
  Words sums[4] = {};
  for (size_t i = 0; i < kBytesPerThread / sizeof(Words); i += 4) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) sums[j] ^= words[i + j];
  }
  return static_cast<float>((sums[0] ^ sums[1] ^ sums[2] ^ sums[3])[0] & 1);
}

volatile float sink;

double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// The best of several goes, all threads starting together: the slowest thread's processor time, which other programs on the
// machine disturb less than the clock on the wall.
double best_seconds(int threads, const std::function<float(int)>& work) {
  double best = 1e9;
  for (int go = 0; go < 7; ++go) {
    std::barrier begin(threads);
    std::vector<double> seconds(static_cast<size_t>(threads));
    std::vector<std::thread> team;
    for (int t = 0; t < threads; ++t) {
      team.emplace_back([&, t] {
        begin.arrive_and_wait();
        const double start = thread_seconds();
        sink = work(t);
        seconds[static_cast<size_t>(t)] = thread_seconds() - start;
      });
    }
    for (std::thread& t : team) t.join();
    best = std::min(best, *std::max_element(seconds.begin(), seconds.end()));
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  const size_t bytes = kBytesPerThread * static_cast<size_t>(threads);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 5;
  madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 1, bytes);
  const double compute = best_seconds(threads, multiply_add);
  const double reading = best_seconds(threads, [&](int t) {
    return read_all(static_cast<std::byte*>(memory) + kBytesPerThread * static_cast<size_t>(t));
  });
  std::printf("{\"threads\": %d, \"gflops\": %.1f, \"read_gb_s\": %.2f}\n", threads,
              2.0 * 16 * kChains * kSteps * threads / compute * 1e-9,
              static_cast<double>(bytes) / reading * 1e-9);
}
