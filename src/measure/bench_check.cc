// Whether a measurement makes sense and fits, before anything is allocated for it.
#include <algorithm>

#include "base/error.h"
#include "measure/bench.h"
#include "measure/counts.h"
#include "plan/host_memory.h"
#include "plan/report.h"

namespace cria {
namespace {

// A model's settings come from a file; what would overflow is more than any machine has.
int64_t bytes_or_most(double bytes) { return static_cast<int64_t>(std::min(bytes, 0x1p60)); }

int64_t inference_tokens(const BenchSettings& s, Job job) {
  return job == Job::prefill ? s.prompt : job == Job::decode ? s.depth + s.tokens : 0;
}

std::vector<MemoryItem> inference_memory(const BenchSettings& s, const LlamaConfig& c, Job job) {
  double weights = 0;
  for (const Param& p : llama_params(c))
    weights += static_cast<double>(weight_bytes(p, s.weight_type()));
  const double sequences = job == Job::decode ? static_cast<double>(s.batch) : 1;
  // Caches grow by doubling.
  const double cached = 2 * sequences * static_cast<double>(inference_tokens(s, job)) *
                        static_cast<double>(cache_bytes(c, s.cache_type(), 1));
  const double logits = 4 * sequences * static_cast<double>(c.vocab_size);
  return {{"weights", bytes_or_most(weights)},
          {"keys and values", bytes_or_most(cached)},
          {"logits", bytes_or_most(logits)}};
}

std::vector<MemoryItem> training_memory(const BenchSettings& s, const LlamaConfig& c, int threads) {
  TrainingRun run;
  run.config = c;
  run.storage = s.storage;
  if (s.recompute)
    run.recompute = [](const StageRuns&) { return RecomputePolicy(Recompute::full); };
  run.compute = s.dtype;
  run.seq_length = s.prompt;
  run.batch_size = s.batch;
  run.threads = threads;
  return rank_memory(run, 0).items;
}

}  // namespace

void check_bench(const BenchSettings& s, const LlamaConfig* config, int threads) {
  const auto count = [](const char* flag, int64_t value, int64_t least, int64_t most) {
    require(value >= least && value <= most, "bench: --{} is {}, expected {} to {}", flag, value,
            least, most);
  };
  count("repeat", s.repeat, 1, 1000);
  if (config == nullptr) return;
  const int64_t context = config->max_position_embeddings;
  count("prompt", s.prompt, 1, context);
  count("tokens", s.tokens, 1, context);
  count("depth", s.depth, 0, context - s.tokens);
  count("batch", s.batch, 1, 1024);
  require(s.dtype == DType::f32 || s.dtype == DType::bf16,
          "bench: --dtype is {}, expected fp32 or bf16", name_of(s.dtype));
  if (s.weights) {
    for (const Param& p : llama_params(*config))
      require(p.is_norm() || p.cols() % block_elements(*s.weights) == 0,
              "bench: --weights {} does not divide rows of {} ({}); try: q8_0 or q4_0",
              name_of(*s.weights), p.cols(), p.name);
  }
  const int64_t available = s.device != nullptr ? s.device->available() : available_memory();
  for (const Job job : s.jobs) {
    if (job == Job::peaks) continue;
    const auto items = job == Job::train ? training_memory(s, *config, threads)
                                         : inference_memory(s, *config, job);
    check_memory(items, available, [&] {
      return job == Job::train
                 ? "--what prefill,decode, --storage bf16, --recompute, or a smaller --random, "
                   "--batch or --prompt"
                 : "a smaller --random, --batch, --tokens or --depth, or --dtype bf16";
    });
  }
}

}  // namespace cria
