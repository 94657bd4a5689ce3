// cria finetune: weights and data in, a fine-tuned model out, in one command.
#include <cmath>
#include <memory>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "checkpoint/convert.h"
#include "cli/check_training.h"
#include "cli/commands.h"
#include "cli/device_choice.h"
#include "cli/open_model.h"
#include "cli/tokenizer_files.h"
#include "cli/unfinished.h"
#include "data/dataset_meta.h"
#include "data/preprocess.h"
#include "plan/host_memory.h"
#include "plan/rank_memory.h"
#include "plan/report.h"
#include "tokenizer/load.h"
#include "train/dataset_source.h"
#include "train/evaluate.h"
#include "train/run_log.h"
#include "train/stop_signals.h"
#include "train/trainer.h"

namespace cria::cli {
namespace {

struct FinetuneFlags {
  std::string model, data, eval_data, output = "output/finetune", config_path, src_strategy,
                                      vocab_file, pad, storage = "fp32", dtype, optimizer = "AdamW",
                                      schedule = "cosine", export_dtype = "bf16", device = "cpu";
  int64_t seq_length = 1024, threads = 0, seed = 0;
  std::optional<int64_t> total_steps;
  bool resume = false, recompute = false, overwrite = false;
  TrainSettings train;
};

void declare(Flags& flags, FinetuneFlags& f) {
  f.train.schedule.lr = 2e-5;
  f.train.batch_size = 8;
  flags.text("model", f.model, "weights: a folder or file of any format we read");
  flags.text(
      "data", f.data,
      "Alpaca records or conversations (JSON or JSON lines), or records made by cria preprocess");
  flags.text("eval_data", f.eval_data,
             "held-back data of the same kinds: perplexity before and after");
  flags.text("output", f.output,
             "folder for records, checkpoints, metrics, the loss plot and the model");
  flags.text("config", f.config_path, "config.json, where the weights carry none");
  flags.text("src_strategy", f.src_strategy, kSrcStrategyHelp);
  flags.text("vocab_file", f.vocab_file,
             "vocabulary; by default the one beside or inside the weights");
  flags.text("pad_token", f.pad, "id or text; needed where the vocabulary's pad is its eos");
  flags.integer("seq_length", f.seq_length, "tokens per sample");
  flags.integer("epochs", f.train.epochs, "passes over the data");
  flags.integer("max_steps", f.train.max_steps, "end after so many steps; 0: no cap");
  flags.integer("total_steps", f.total_steps, "length of the schedule; by default the whole run's");
  flags.integer("batch_size", f.train.batch_size, "samples per micro batch");
  flags.integer("gradient_accumulation_steps", f.train.gradient_accumulation_steps,
                "micro batches per step");
  flags.number("lr", f.train.schedule.lr, "peak learning rate");
  flags.number("lr_end", f.train.schedule.lr_end, "last learning rate");
  flags.integer("warmup_steps", f.train.schedule.warmup_steps, "steps from 0 to the peak");
  flags.text("schedule", f.schedule, "cosine, constant, linear, polynomial or MindFormers' names");
  flags.text("optimizer", f.optimizer, "AdamW or FP32StateAdamWeightDecay");
  flags.number("weight_decay", f.train.optimizer.weight_decay, "of matrices");
  flags.number("max_grad_norm", f.train.optimizer.max_grad_norm, "0: no clipping");
  flags.text("dtype", f.dtype,
             "compute type: fp32 or bf16; by default bf16 on a GPU and where bf16 is faster, "
             "else fp32");
  flags.text("device", f.device, kDeviceHelp);
  flags.text("storage", f.storage,
             "of the weights while training: fp32, bf16 or fp16, 16-bit ones with an exact master");
  flags.text("export_dtype", f.export_dtype, "of the model written at the end");
  flags.integer("seed", f.seed, "order of the samples");
  flags.integer("save_every", f.train.save_every, "steps between checkpoints; 0: only at the end");
  flags.boolean("resume", f.resume, "go on from the newest checkpoint in the output folder");
  flags.boolean("recompute", f.recompute, "less memory, a quarter more time");
  flags.boolean("overwrite", f.overwrite, "make the records in the output folder again");
  flags.integer("threads", f.threads, "0: one per core");
  flags.require_flag("model");
  flags.require_flag("data");
}

// A bar with loss and rate; after the first step how long the rest will take.
class BarReporter : public Reporter {
 public:
  void begin(const RunReport& run) override {
    fmt::print("{} samples, {} steps of {} samples, {:.1f} M parameters{}\n", run.samples,
               run.total_steps, run.global_batch, static_cast<double>(run.parameters) * 1e-6,
               run.first_step > 0 ? fmt::format(", resumed after step {}", run.first_step) : "");
    std::fflush(stdout);
    bar_ = std::make_unique<Progress>("train", run.total_steps - run.first_step, "steps");
    first_ = run.first_step + 1;
  }
  void step(const StepReport& s) override {
    if (s.batch == first_) {
      fmt::print("first step {:.1f} s, about {} to go\n", s.seconds,
                 clock_text(s.seconds * static_cast<double>(s.total_batches - s.batch)));
      std::fflush(stdout);
    }
    bar_->advance(1, fmt::format("loss {:.3f}  lr {:.2e}  {:.0f} tokens/s{}", s.loss, s.lr,
                                 static_cast<double>(s.tokens) / std::max(s.seconds, 1e-9),
                                 s.overflow ? "  skipped" : ""));
  }
  void end(double) override { bar_.reset(); }

 private:
  std::unique_ptr<Progress> bar_;
  int64_t first_ = 0;
};

// Records of a data file: itself when it holds records, else made from it in the output folder.
std::string records_of(const std::string& data, const char* name, const FinetuneFlags& f,
                       const Tokenizer* tokenizer, Unfinished& output) {
  if (is_record_file_name(data) || is_folder(data)) return data;
  require(tokenizer != nullptr, "finetune: {}: text needs a tokenizer; try: --vocab_file", data);
  PreprocessOptions options;
  options.dataset_type = DatasetType::qa;
  options.input = data;
  options.output = join_path(f.output, fmt::format("{}.mindrecord", name));
  options.seq_length = f.seq_length;
  options.overwrite = f.overwrite;
  options.threads = static_cast<int>(f.threads);
  if (!f.pad.empty()) options.pad = parse_token(*tokenizer, f.pad);
  if (is_file(options.output) && f.resume) return options.output;
  const PreprocessReport r = cria::preprocess(options, *tokenizer);
  for (const char* end : {"", ".db", ".meta.json", ".sum.json"}) output.file(options.output + end);
  fmt::print("{}: {} records, {} of {} tokens trained, {:.0f} % padding{}\n", data, r.records,
             r.trained_tokens, r.tokens, 100 * r.padding_share,
             r.truncated > 0 ? fmt::format(", {} truncated", r.truncated) : "");
  return options.output;
}

Dataset open_records(const std::string& path, const FinetuneFlags& f, const LlamaConfig& config,
                     const Tokenizer* tokenizer, bool shuffle) {
  const std::vector<std::string> files = find_record_files(path);
  Dataset::Options options;
  options.seq_length = f.seq_length;
  options.seed = static_cast<uint64_t>(f.seed);
  options.shuffle = shuffle;
  options.pad = -1;  // records carry labels; padding has none
  const std::string meta_path = find_dataset_meta(files[0]);
  if (!meta_path.empty()) {
    const DatasetMeta meta = read_dataset_meta(meta_path);
    DatasetExpectation expected;
    if (tokenizer != nullptr) expected.tokenizer_sha256 = tokenizer->fingerprint();
    expected.vocab_size = config.vocab_size;
    expected.seq_length = f.seq_length;
    check_dataset_matches(meta, meta_path, expected);
    require_trained_tokens(meta, meta_path);
    options.pad = meta.pad;
  }
  return Dataset(files, options);
}

void print_perplexity(const char* when, const LlamaConfig& config, const ParamArena& weights,
                      const FinetuneFlags& f, const Dataset& data, ops::Exec& exec) {
  DatasetSource source(data, f.seq_length);
  const Evaluation e = evaluate(config, weights, f.train.compute, source, f.train.batch_size, exec);
  fmt::print("held-back perplexity {}: {:.3f}  (loss {:.4f} over {} tokens)\n", when, e.perplexity,
             e.loss, e.tokens);
  std::fflush(stdout);
}

void export_model(const TrainState& state, const LlamaConfig& config, const FinetuneFlags& f,
                  const std::optional<Vocabulary>& vocabulary) {
  ConvertOptions options;
  options.output = join_path(f.output, "model");
  options.dtype = parse_dtype(f.export_dtype, "--export_dtype");
  convert_weights(rows_of(state.weights), config, options);
  if (vocabulary) write_hugging_face_tokenizer(*vocabulary, options.output);
}

void check_flags(FinetuneFlags& f, const ops::Device* device) {
  require(f.seq_length >= 2 && f.seq_length <= 1 << 24,
          "finetune: --seq_length is {}, expected 2 or more", f.seq_length);
  require(f.seed >= 0 && f.threads >= 0 && f.threads <= 4096,
          "finetune: --seed and --threads must be 0 or more");
  f.train.compute = f.dtype.empty() ? fastest_dtype(device) : parse_dtype(f.dtype, "--dtype");
  f.train.recompute = f.recompute ? Recompute::full : Recompute::none;
  f.train.seed = static_cast<uint64_t>(f.seed);
  f.train.checkpoint_root = join_path(f.output, "checkpoint");
  f.train.optimizer.beta2 = 0.999;
  parse_optimizer(f.optimizer, f.train.optimizer);
  f.train.schedule.kind = parse_schedule(f.schedule);
  parse_dtype(f.export_dtype, "--export_dtype");
  check_training("finetune", f.train);
  if (f.total_steps) f.train.schedule.total_steps = *f.total_steps;
}

/// Before anything is written or allocated. Throws Error(memory).
void check_fits(const FinetuneFlags& f, const LlamaConfig& config, int threads,
                ops::Device* device) {
  TrainingRun run;
  run.config = config;
  run.storage = parse_dtype(f.storage, "--storage");
  run.compute = f.train.compute;
  run.master_weights = f.train.optimizer.master_weights;
  run.seq_length = f.seq_length;
  run.batch_size = f.train.batch_size;
  run.micro_batches = f.train.gradient_accumulation_steps;
  run.recompute = [policy = f.train.recompute](const StageRuns&) { return policy; };
  run.threads = threads;
  run.evaluates = !f.eval_data.empty();
  const int64_t available = device != nullptr ? device->available() : available_memory();
  check_memory(rank_memory(run, 0).items, available, [&] {
    std::string hint = f.recompute ? "" : "--recompute, ";
    if (run.storage == DType::f32) hint += "--storage bf16, ";
    return hint + "a smaller --batch_size or --seq_length, or several ranks (run_llama3)";
  });
}

}  // namespace

int finetune(const std::string& name, const std::vector<std::string>& arguments) {
  FinetuneFlags f;
  Flags flags(name, "Fine-tunes all parameters of a Llama on instruction data.",
              "  cria finetune --model llama3-8b/ --data alpaca.json --output my-llama --epochs 2 "
              "--lr 1e-5\n"
              "  cria finetune --model SmolLM2.gguf --data alpaca.json --pad_token '<|endoftext|>' "
              "--seq_length 128 --lr 2e-4");
  declare(flags, f);
  if (!flags.parse(arguments)) return 0;
  hold_save_requests();
  const std::unique_ptr<ops::Device> device = open_device(f.device);
  check_flags(f, device.get());

  const OpenedModel opened = open_model(f.model, f.config_path, f.src_strategy);
  const WeightSource& weights = opened.source;
  const LlamaConfig& config = opened.config;
  require(f.seq_length <= config.max_position_embeddings,
          "{}: --seq_length {} is more than the model's context of {}", name, f.seq_length,
          config.max_position_embeddings);
  ThreadPool pool(static_cast<int>(f.threads));
  check_fits(f, config, pool.threads(), device.get());
  const auto vocabulary = find_vocabulary(weights.tokenizer_path(), f.vocab_file);
  std::unique_ptr<Tokenizer> tokenizer;
  if (vocabulary) tokenizer = std::make_unique<Tokenizer>(*vocabulary);

  Unfinished output(f.output);
  const Dataset data = open_records(records_of(f.data, "train", f, tokenizer.get(), output), f,
                                    config, tokenizer.get(), true);
  std::optional<Dataset> held_back;
  if (!f.eval_data.empty())
    held_back.emplace(open_records(records_of(f.eval_data, "eval", f, tokenizer.get(), output), f,
                                   config, tokenizer.get(), false));

  ops::Exec exec{.pool = pool, .device = device.get()};
  TrainState state(config, parse_dtype(f.storage, "--storage"), f.train.optimizer.master_weights,
                   whole_model(config), {}, device.get());
  load_parameters(weights, state.weights, pool);
  state.start(exec);
  DatasetSource source(data, f.seq_length);
  if (!f.total_steps) {
    const int64_t steps = data.samples() /
                          (f.train.batch_size * f.train.gradient_accumulation_steps) *
                          f.train.epochs;
    f.train.schedule.total_steps =
        std::max<int64_t>(1, f.train.max_steps > 0 ? std::min(steps, f.train.max_steps) : steps);
  }
  if (tokenizer) f.train.identity["the tokenizer"] = tokenizer->fingerprint();
  BarReporter bar;
  RunLog log(f.output);
  Reporters reporters({&bar, &log});
  Trainer trainer(config, state, f.train, source, exec, reporters);
  if (f.resume)
    require<MismatchError>(trainer.resume(), "{}: {}: no checkpoint to go on from", name,
                           f.train.checkpoint_root);
  output.keep();
  if (held_back && trainer.batches_done() == 0)
    print_perplexity("before", config, state.weights, f, *held_back, exec);
  const TrainResult result = trainer.run();
  if (result.stopped_by_signal) {
    fmt::print("stopped after step {}; go on with the same command and --resume\n", result.batches);
    return static_cast<int>(ExitCode::stopped);
  }
  if (held_back) print_perplexity("after", config, state.weights, f, *held_back, exec);
  export_model(state, config, f, vocabulary);
  fmt::print("trained {} steps in {}; model {}, loss plot {}\n", result.batches,
             clock_text(result.seconds), join_path(f.output, "model"),
             join_path(f.output, "loss.svg"));
  return 0;
}

}  // namespace cria::cli
