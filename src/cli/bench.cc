// cria bench: how fast this machine does each job, beside what it could do.
#include "measure/bench.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/flags.h"
#include "base/progress.h"
#include "base/random.h"
#include "checkpoint/convert.h"
#include "cli/commands.h"
#include "cli/default_dtype.h"
#include "cli/device_choice.h"
#include "cli/generation_model.h"
#include "cli/open_model.h"
#include "formats/element_cast.h"
#include "formats/quantise.h"

namespace cria::cli {
namespace {

struct BenchFlags {
  std::string model, random, config_path, src_strategy, dtype, storage = "fp32", weights, cache,
                                                               what, device = "cpu";
  int64_t threads = 0;
  bool json = false;
  BenchSettings settings;
};

void declare(Flags& flags, BenchFlags& f) {
  flags.text("model", f.model, "weights: a folder or file of any format we read");
  flags.text("random", f.random,
             "instead of a model: random weights of a true shape (8b, 70b, 1b, 3b, 150m, 135m, "
             "tiny), or of a config.json; by default 135m");
  flags.text("config", f.config_path, "config.json, where the weights carry none");
  flags.text("src_strategy", f.src_strategy, kSrcStrategyHelp);
  flags.text("what", f.what,
             "load, prefill, decode, train, separated by commas, or peaks alone; by default all "
             "that is possible but load: prefill,decode,train");
  flags.integer("prompt", f.settings.prompt, "tokens of the prompt, and of a training sample");
  flags.integer("tokens", f.settings.tokens, "decoded one after the other");
  flags.integer("depth", f.settings.depth, "tokens that stand before the first decoded one");
  flags.integer("batch", f.settings.batch,
                "sequences decoded together; samples of a training step");
  flags.text("dtype", f.dtype, "compute type: fp32 or bf16; by default bf16 where it is faster");
  flags.text("storage", f.storage,
             "of weights in training: fp32, or bf16 with an exact master in 16 more bits");
  flags.boolean("recompute", f.settings.recompute, "in training: less memory, a quarter more time");
  flags.text("device", f.device, kDeviceHelp);
  flags.text("weights", f.weights,
             "all matrices as blocks of this type (q8_0, q4_0, ...) or packed bf16, but in "
             "training; the rest is then fp32");
  flags.text("cache_dtype", f.cache, kCacheHelp);
  flags.integer("threads", f.threads, "0: one per core");
  flags.integer("repeat", f.settings.repeat, "times of each, after one that is not counted");
  flags.boolean("json", f.json, "one JSON document on stdout and nothing else");
}

/// A few random rows of each matrix, again and again: making 8 billion numbers would take minutes, and no speed depends on them.
/// put(parameter, first row, rows as bytes of type_of(parameter)).
template <class TypeOf, class Put>
void put_random_rows(const std::vector<Param>& params, ThreadPool& pool, const TypeOf& type_of,
                     const Put& put) {
  constexpr int64_t kRows = 16, kTogether = 256;
  pool.parallel_for(std::ssize(params), [&](int64_t i) {
    const Param& p = params[static_cast<size_t>(i)];
    std::vector<float> numbers(static_cast<size_t>(kRows * p.cols()));
    for (size_t e = 0; e < numbers.size(); ++e)
      numbers[e] =
          p.is_norm()
              ? 1.0F
              : static_cast<float>(p.init_std * random_normal(1, static_cast<uint64_t>(i), e));
    const DType type = type_of(i);
    const auto row_bytes = static_cast<size_t>(bytes_of(type, p.cols()));
    std::vector<std::byte> few(kRows * row_bytes);
    if (is_quantised(type)) {
      quantise(type, numbers, few);
    } else {
      from_f32(numbers, type, few);
    }
    std::vector<std::byte> rows;
    for (int64_t r = 0; r < std::min(kTogether, p.rows()); r += kRows)
      rows.insert(rows.end(), few.begin(), few.end());
    for (int64_t r = 0; r < p.rows(); r += kTogether)
      put(i, r,
          std::span<const std::byte>(rows).first(
              static_cast<size_t>(std::min(kTogether, p.rows() - r)) * row_bytes));
  });
}

BenchModel random_model(const std::string& shape) {
  return {.config = shape_named(shape),
          .name = shape,
          .random = true,
          .fill =
              [](ParamArena& weights, ThreadPool& pool) {
                put_random_rows(
                    weights.params(), pool, [&](int64_t) { return weights.dtype(); },
                    [&](int64_t i, int64_t r, auto rows) { weights.write_rows(i, r, rows); });
              },
          .fill_packed =
              [](PackedWeights& weights, ThreadPool& pool) {
                put_random_rows(
                    weights.params(), pool, [&](int64_t i) { return weights.type(i); },
                    [&](int64_t i, int64_t r, auto rows) { weights.put_rows(i, r, rows); });
              }};
}

BenchModel stored_model(const BenchFlags& f) {
  const OpenedModel opened = open_model(f.model, f.config_path, f.src_strategy);
  BenchModel model{.config = opened.config, .name = f.model};
  for (const TensorInfo& t : opened.source.tensors())
    model.stored_bytes += bytes_of(t.dtype, t.elements());
  // Opening is a part of loading.
  model.fill = [f](ParamArena& weights, ThreadPool& pool) {
    load_parameters(open_source(f.model, f.src_strategy, weights.config()), weights, pool);
  };
  model.fill_packed = [f](PackedWeights& weights, ThreadPool& pool) {
    load_parameters(open_source(f.model, f.src_strategy, weights.config()), weights, pool);
  };
  return model;
}

}  // namespace

int bench(const std::string& name, const std::vector<std::string>& arguments) {
  BenchFlags f;
  Flags flags(
      name,
      "Measures how fast this machine reads prompts, decodes and trains, and what part that "
      "is of what its processor and its memory can do at most, measured in the same run.",
      "  cria bench                                          SmolLM2-135M's shape\n"
      "  cria bench --model SmolLM2.gguf --what load,prefill,decode --prompt 512 --tokens "
      "128\n"
      "  cria bench --random 1b --what decode --batch 8 --depth 2048 --json\n"
      "  cria bench --what peaks --threads 1                 the machine alone\n"
      "  cria bench --device cuda --random 8b --storage bf16 --recompute --prompt 8192\n"
      "  CRIA_ISA=avx2 cria bench                            as on an older processor");
  declare(flags, f);
  if (!flags.parse(arguments)) return 0;
  require(f.model.empty() || f.random.empty(), "{}: give either --model or --random", name);
  f.settings.jobs = parse_jobs(f.what.empty() ? "prefill,decode,train" : f.what);
  const bool needs_model = f.settings.jobs.back() != Job::peaks;
  const bool loads = std::ranges::count(f.settings.jobs, Job::load) > 0;
  require(!loads || !f.model.empty(), "{}: --what load needs --model: random weights are made",
          name);
  if (!f.weights.empty()) {
    f.settings.weights = parse_block_type(f.weights, name + ": --weights");
    require(ops::PackedMatrix::takes(*f.settings.weights),
            "{}: --weights {} is not packed; try: --dtype", name, f.weights);
  }
  require(f.dtype.empty() || f.dtype == "fp32" || f.dtype == "bf16",
          "{}: --dtype is \"{}\", expected fp32 or bf16", name, escaped(f.dtype));
  require(f.storage == "fp32" || f.storage == "bf16",
          "{}: --storage is \"{}\", expected fp32 or bf16", name, escaped(f.storage));
  f.settings.storage = parse_dtype(f.storage, "--storage");
  const std::unique_ptr<ops::Device> device = open_device(f.device);
  f.settings.device = device.get();
  const DType plain = fastest_dtype(device.get());
  const DType matrices[] = {f.settings.weights.value_or(plain)};
  const DType chosen = device != nullptr ? plain : dtype_beside(matrices, plain);
  f.settings.dtype = f.dtype.empty() ? chosen : parse_dtype(f.dtype, "--dtype");
  f.settings.cache = cache_type(f.cache, f.settings.cache_type());

  ThreadPool pool(static_cast<int>(f.threads));
  std::optional<BenchModel> model;
  if (needs_model)
    model = f.model.empty() ? random_model(f.random.empty() ? "135m" : f.random) : stored_model(f);
  check_bench(f.settings, model ? &model->config : nullptr, pool.threads());
  Progress progress("bench", bench_rounds(f.settings), "rounds");
  const BenchReport report =
      run_bench(f.settings, model ? &*model : nullptr, pool,
                [&](std::string_view what) { progress.advance(1, std::string(what)); });
  fmt::print("{}", f.json ? bench_json(report, CRIA_VERSION) : bench_text(report, CRIA_VERSION));
  return 0;
}

}  // namespace cria::cli
