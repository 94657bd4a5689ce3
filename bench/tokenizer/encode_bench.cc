// Encoding speed on real Llama 3 vocabulary and ordinary text, and what starting costs.
// CRIA_BENCH_VOCAB names a tokenizer.model, tokenizer.json, GGUF or folder; CRIA_BENCH_TEXT a text.
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "base/file.h"
#include "tokenizer/load.h"

namespace {

const char* setting(const char* name, benchmark::State& state) {
  const char* value = std::getenv(name);
  if (value == nullptr) state.SkipWithError((std::string(name) + " is not set").c_str());
  return value;
}

void encode(benchmark::State& state) {
  const char* vocabulary = setting("CRIA_BENCH_VOCAB", state);
  const char* file = setting("CRIA_BENCH_TEXT", state);
  if (vocabulary == nullptr || file == nullptr) return;
  const cria::Tokenizer tokenizer(cria::load_vocabulary(vocabulary));
  const std::string text = cria::read_text(file);
  std::vector<cria::TokenId> ids;
  for (auto _ : state) {
    ids.clear();
    tokenizer.encode(text, {}, ids);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
  state.counters["bytes_per_token"] =
      static_cast<double>(text.size()) / static_cast<double>(ids.size());
}
BENCHMARK(encode)->Unit(benchmark::kMillisecond);

void start(benchmark::State& state) {
  const char* vocabulary = setting("CRIA_BENCH_VOCAB", state);
  if (vocabulary == nullptr) return;
  for (auto _ : state)
    benchmark::DoNotOptimize(cria::Tokenizer(cria::load_vocabulary(vocabulary)).vocab_size());
}
BENCHMARK(start)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
