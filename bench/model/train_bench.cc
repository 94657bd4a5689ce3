// Speed of a whole training pass and of decoding at SmolLM2-135M's shape, beside the processor's peak: a loop of independent
// fused multiply-adds, and a loop that only reads.
//
//   model_train_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
//
// Operations of a training pass are three times forward_flops_per_token(): what recomputation repeats does not count. Decoding
// is measured in bytes of weights read per second. Times are processor time of the whole process divided by its threads, so that a busy machine disturbs them little.
#include <benchmark/benchmark.h>

#include <numeric>
#include <utility>
#include <vector>

#include "measure/peak.h"
#include "measure/timing.h"
#include "model/llama.h"

namespace cria {
namespace {

// Runs `body` under the benchmark's loop and reports `work` per second.
template <class Body>
void measure(benchmark::State& state, int threads, const char* unit, double work, Body body) {
  for (auto _ : state) {
    const double before = processor_seconds();
    body();
    state.SetIterationTime((processor_seconds() - before) / threads);
  }
  state.counters[unit] = benchmark::Counter(work * static_cast<double>(state.iterations()) * 1e-9,
                                            benchmark::Counter::kIsRate);
}

void peak(benchmark::State& state, ComputeLoop loop) {
  measure(state, 1, "GFLOP/s", static_cast<double>(loop.operations),
          [&] { benchmark::DoNotOptimize(loop.run()); });
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
  for (const auto& [name, kind] : {std::pair("peak/f32", Peak::f32), {"peak/bf16", Peak::bf16}}) {
    if (const auto loop = compute_loop(kind))
      add(name, [loop](benchmark::State& s) { peak(s, *loop); });
  }
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
