// Speed of a whole training pass and of decoding at SmolLM2-135M's shape, beside the processor's peak: a loop of independent
// fused multiply-adds, and a loop that only reads.
//
//   model_train_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
//
// Operations of a training pass are three times forward_flops_per_token(): what recomputation repeats does not count. Decoding
// is measured in bytes of weights read per second. Times are processor time of the whole process divided by its threads, so that a busy machine disturbs them little.
#include <benchmark/benchmark.h>
#include <immintrin.h>
#include <sys/resource.h>

#include <numeric>
#include <vector>

#include "base/cpu.h"
#include "model/llama.h"

namespace cria {
namespace {

double process_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Runs `body` under the benchmark's loop and reports `work` per second.
template <class Body>
void measure(benchmark::State& state, int threads, const char* unit, double work, Body body) {
  for (auto _ : state) {
    const double before = process_seconds();
    body();
    state.SetIterationTime((process_seconds() - before) / threads);
  }
  state.counters[unit] = benchmark::Counter(work * static_cast<double>(state.iterations()) * 1e-9,
                                            benchmark::Counter::kIsRate);
}

// 2 * 16 operations an instruction; enough chains to hide the latency of four cycles on two units.
constexpr int kChains = 12, kSteps = 1 << 20;

__attribute__((target("avx512f"), noinline)) void multiply_add_avx512() {
  __m512 s[kChains];
  for (int i = 0; i < kChains; ++i) s[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) s[i] = _mm512_fmadd_ps(s[i], x, y);
  }
  for (__m512& v : s) benchmark::DoNotOptimize(v);
}

void peak_avx512(benchmark::State& state) {
  measure(state, 1, "GFLOP/s", 32.0 * kChains * kSteps, multiply_add_avx512);
}

struct Model {
  Model(const LlamaConfig& c, DType dtype, int threads)
      : config(c), pool(threads), weights(c, dtype) {
    init_parameters(weights, 1, pool);
  }
  LlamaConfig config;
  ThreadPool pool;
  ParamArena weights;
  ops::Exec exec{pool};
};

struct Tokens {
  explicit Tokens(int64_t count) : ids(static_cast<size_t>(count)), positions(ids.size()) {
    std::iota(positions.begin(), positions.end(), 0);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7919 % 49152);
    documents = {0, count};
  }
  [[nodiscard]] Batch batch() const { return {ids, ids, documents, positions}; }
  std::vector<int32_t> ids, positions;
  std::vector<int64_t> documents;
};

void training(benchmark::State& state, DType dtype, Recompute recompute, int threads) {
  Model model(named_config("135m"), dtype, threads);
  const Tokens tokens(512);
  ParamArena grads(model.config, DType::f32);
  std::vector<float> losses(tokens.ids.size());
  Trainee trainee(model.config, model.weights, dtype, recompute, model.exec);
  trainee.forward_backward(tokens.batch(), 1.0f / 512, losses, grads, true);
  const double flops = 3 * 512 * forward_flops_per_token(model.config, 512);
  measure(state, threads, "GFLOP/s", flops / threads,
          [&] { trainee.forward_backward(tokens.batch(), 1.0f / 512, losses, grads, true); });
  state.counters["activations_MB"] = static_cast<double>(trainee.activation_bytes()) * 1e-6;
}

void decoding(benchmark::State& state, DType dtype, int threads) {
  Model model(named_config("135m"), dtype, threads);
  const Tokens tokens(128);
  Decoder decoder(model.config, model.weights, dtype, model.exec);
  KvCache cache(model.config, dtype);
  KvCache* const caches[] = {&cache};
  Tensor logits(DType::f32, 1, model.config.vocab_size);
  decoder.prefill(tokens.ids, cache, logits);
  measure(state, threads, "GB/s", static_cast<double>(model.weights.size_bytes()) / threads, [&] {
    decoder.step(std::span(tokens.ids).first(1), caches, logits);
    cache.truncate(128);
  });
}

}  // namespace
}  // namespace cria

int main(int argc, char** argv) {
  using namespace cria;
  const auto add = [](const std::string& name, auto body) {
    benchmark::RegisterBenchmark(name.c_str(), body)
        ->UseManualTime()
        ->MinTime(0.2)
        ->Unit(benchmark::kMillisecond);
  };
  if (current_isa() >= Isa::avx512) add("peak/avx512", peak_avx512);
  for (const int threads : {1, 2}) {
    const auto suffix = "/threads:" + std::to_string(threads);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const auto name = std::string(name_of(dtype)) + suffix;
      add("train/" + name,
          [=](benchmark::State& s) { training(s, dtype, Recompute::none, threads); });
      add("train_recompute/" + name,
          [=](benchmark::State& s) { training(s, dtype, Recompute::full, threads); });
      add("decode/" + name, [=](benchmark::State& s) { decoding(s, dtype, threads); });
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
