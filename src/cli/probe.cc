// cria probe: a model's numbers in a file, so that anybody can hold them against another implementation.
#include <cstring>
#include <map>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/thread_pool.h"
#include "checkpoint/convert.h"
#include "cli/check_training.h"
#include "cli/commands.h"
#include "cli/device_choice.h"
#include "cli/open_model.h"
#include "formats/safetensors.h"
#include "train/trainer.h"

namespace cria::cli {
namespace {

// ids and labels of a batch, or of one batch per step.
struct ProbeInput {
  std::vector<int64_t> shape;        // [B, T] or [steps, B, T]
  std::vector<int64_t> ids, labels;  // labels may be empty
  [[nodiscard]] int64_t steps() const { return shape.size() == 3 ? shape[0] : 1; }
  [[nodiscard]] int64_t rows() const { return shape[shape.size() - 2]; }
  [[nodiscard]] int64_t length() const { return shape.back(); }
};

std::vector<int64_t> read_int64(const TensorReader& file, size_t index) {
  const TensorInfo& t = file.tensors()[index];
  require<FormatError>(t.dtype == DType::i64, "probe: {}: \"{}\" is {}, expected I64",
                       file.path_of(index), t.name, name_of(t.dtype));
  std::vector<int64_t> values(static_cast<size_t>(t.elements()));
  file.read(index, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

ProbeInput read_input(const std::string& path, size_t dims, int64_t vocab_size) {
  const auto file = open_safetensors(path);
  const auto ids = file->find("input_ids");
  require<FormatError>(ids.has_value(), "probe: {}: no tensor \"input_ids\"", path);
  ProbeInput in;
  in.shape = file->tensors()[*ids].shape;
  require<FormatError>(in.shape.size() == dims, "probe: {}: input_ids has {} dims, expected {}",
                       path, in.shape.size(), dims);
  for (const int64_t d : in.shape)
    require<FormatError>(d >= 1, "probe: {}: input_ids is empty", path);
  in.ids = read_int64(*file, *ids);
  for (const int64_t id : in.ids)
    require<FormatError>(id >= 0 && id < vocab_size,
                         "probe: {}: token {} is outside the vocabulary of {}", path, id,
                         vocab_size);
  if (const auto labels = file->find("labels")) {
    require<FormatError>(file->tensors()[*labels].shape == in.shape,
                         "probe: {}: labels and input_ids differ in shape", path);
    in.labels = read_int64(*file, *labels);
    for (const int64_t l : in.labels)
      require<FormatError>(l == -100 || (l >= 0 && l < vocab_size),
                           "probe: {}: label {} is outside the vocabulary of {}", path, l,
                           vocab_size);
  }
  return in;
}

// Labels stand at the index of their token; what position t has to predict is label t + 1.
Samples samples_of(const ProbeInput& in, int64_t step) {
  Samples samples;
  std::vector<int32_t> ids(static_cast<size_t>(in.length())), targets(ids.size());
  for (int64_t b = 0; b < in.rows(); ++b) {
    const int64_t base = (step * in.rows() + b) * in.length();
    for (int64_t t = 0; t < in.length(); ++t) {
      const auto at = static_cast<size_t>(base + t);
      ids[static_cast<size_t>(t)] = static_cast<int32_t>(in.ids[at]);
      const bool last = t + 1 == in.length();
      targets[static_cast<size_t>(t)] =
          last || in.labels.empty() ? -100 : static_cast<int32_t>(in.labels[at + 1]);
    }
    samples.add(ids, targets);
  }
  return samples;
}

// The output file: tensors are collected, then written at once.
class Output {
 public:
  void add(std::string name, std::vector<int64_t> shape, std::span<const float> values) {
    infos_.push_back({std::move(name), DType::f32, std::move(shape)});
    values_.emplace_back(values.begin(), values.end());
  }
  void add_parameters(const std::string& prefix, const ParamArena& arena) {
    for (size_t i = 0; i < arena.params().size(); ++i) {
      const Param& p = arena.params()[i];
      std::vector<float> values(static_cast<size_t>(p.elements()));
      arena.read_rows(static_cast<int64_t>(i), 0, std::as_writable_bytes(std::span(values)));
      infos_.push_back({prefix + p.name, DType::f32, p.shape});
      values_.push_back(std::move(values));
    }
  }
  void save(const std::string& path) const {
    const auto writer = make_safetensors_writer(path, infos_);
    for (const auto& v : values_) writer->write(std::as_bytes(std::span(v)));
    writer->commit();
  }

 private:
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<float>> values_;
};

void probe_once(const LlamaConfig& config, const ParamArena& weights, DType compute,
                const ProbeInput& in, bool grads, ops::Exec& exec, Output& out) {
  const Samples samples = samples_of(in, 0);
  Trainee trainee(config, weights, compute, Recompute::none, exec);
  Tensor logits(DType::f32, samples.tokens(), config.vocab_size, exec.device);
  trainee.logits(samples.batch(), logits);
  if (exec.device != nullptr) logits = logits.copy_to(nullptr);
  out.add("logits", {in.rows(), in.length(), config.vocab_size}, logits.span<float>());
  if (in.labels.empty()) {
    require(!grads, "probe: --grads needs labels in the input");
    return;
  }
  std::vector<float> token_loss(static_cast<size_t>(samples.tokens()));
  const auto trained = static_cast<double>(std::max<int64_t>(1, samples.trained()));
  ParamArena gradients(config, DType::f32, whole_model(config), {}, exec.device);
  if (grads) {
    trainee.forward_backward(samples.batch(), static_cast<float>(1 / trained), token_loss,
                             gradients, true);
  } else {
    trainee.forward(samples.batch(), token_loss);
  }
  const float loss =
      static_cast<float>(std::accumulate(token_loss.begin(), token_loss.end(), 0.0) / trained);
  std::vector<float> shifted;  // position t of a row predicts t + 1: the last one predicts nothing
  for (int64_t b = 0; b < in.rows(); ++b) {
    const auto row = token_loss.begin() + b * in.length();
    shifted.insert(shifted.end(), row, row + in.length() - 1);
  }
  out.add("token_loss", {in.rows(), in.length() - 1}, shifted);
  out.add("loss", {}, {&loss, 1});
  if (grads) out.add_parameters("grad.", gradients);
}

// The steps of the input, in order, as an endless data set of its own.
class ProbeSteps : public SampleSource {
 public:
  explicit ProbeSteps(const ProbeInput& in) : in_(in) {}
  [[nodiscard]] int64_t samples_per_epoch() const override { return in_.steps() * in_.rows(); }
  void fill(int64_t /*epoch*/, int64_t position, int64_t /*count*/, Samples& out) override {
    out = samples_of(in_, position / in_.rows());
  }
  [[nodiscard]] std::string fingerprint() const override { return "probe"; }

 private:
  const ProbeInput& in_;
};

class StepLog : public Reporter {
 public:
  std::vector<float> loss, grad_norm, lr;
  void step(const StepReport& s) override {
    loss.push_back(static_cast<float>(s.loss));
    grad_norm.push_back(static_cast<float>(s.grad_norm));
    lr.push_back(static_cast<float>(s.lr));
  }
};

void probe_training(const LlamaConfig& config, TrainState& state, TrainSettings settings,
                    const ProbeInput& in, ops::Exec& exec, Output& out) {
  require(!in.labels.empty(), "probe: --train needs labels in the input");
  settings.batch_size = in.rows();
  settings.save_at_end = false;
  ProbeSteps steps(in);
  StepLog log;
  Trainer(config, state, settings, steps, exec, log).run();
  const int64_t n = in.steps();
  out.add("loss", {n}, log.loss);
  out.add("grad_norm", {n}, log.grad_norm);
  out.add("lr", {n}, log.lr);
  out.add_parameters("final.", state.weights);
}

}  // namespace

int probe(const std::string& name, const std::vector<std::string>& arguments) {
  std::string model, input, output, dtype = "fp32", config_path, src_strategy, optimizer = "AdamW",
                                    schedule = "CosineWithWarmUpLR", device_word = "cpu";
  bool grads = false, train = false;
  int64_t threads = 0;
  std::optional<int64_t> total_steps;
  TrainSettings settings;
  settings.schedule.lr = 1e-3;
  Flags flags(name,
              "Writes a model's logits, losses and gradients for given tokens, or runs given "
              "training steps. The contract is docs/comparing.md.",
              "  cria probe --model smollm2/ --input X.safetensors --output Y.safetensors --grads\n"
              "  cria probe --model smollm2/ --input steps.safetensors --output Y.safetensors "
              "--train --lr 1e-3 --warmup_steps 3");
  flags.text("model", model, "weights: a folder or file of any format we read");
  flags.text("input", input,
             "safetensors with input_ids and labels, I64 [B,T], or [steps,B,T] with --train");
  flags.text("output", output, "safetensors, all F32");
  flags.text("dtype", dtype, "compute type: fp32 or bf16");
  flags.text("device", device_word, kDeviceHelp);
  flags.text("config", config_path, "config.json, where the weights carry none");
  flags.text("src_strategy", src_strategy, kSrcStrategyHelp);
  flags.boolean("grads", grads, "gradients of the loss too");
  flags.boolean("train", train, "one optimizer step per leading index of the input");
  flags.text("optimizer", optimizer, "AdamW or FP32StateAdamWeightDecay");
  flags.text("schedule", schedule, "CosineWithWarmUpLR, ...");
  flags.number("lr", settings.schedule.lr, "peak learning rate");
  flags.number("lr_end", settings.schedule.lr_end, "last learning rate");
  flags.integer("warmup_steps", settings.schedule.warmup_steps, "steps from 0 to lr");
  flags.integer("total_steps", total_steps, "of the schedule; by default the steps of the input");
  flags.number("beta1", settings.optimizer.beta1, "");
  flags.number("beta2", settings.optimizer.beta2, "");
  flags.number("eps", settings.optimizer.eps, "outside the root");
  flags.number("weight_decay", settings.optimizer.weight_decay, "");
  flags.boolean("decay_1d", settings.optimizer.decay_1d, "decay norms too");
  flags.number("max_grad_norm", settings.optimizer.max_grad_norm, "0: no clipping");
  flags.integer("threads", threads, "0: one per core");
  for (const char* needed : {"model", "input", "output"}) flags.require_flag(needed);
  if (!flags.parse(arguments)) return 0;
  require(dtype == "fp32" || dtype == "bf16", "{}: --dtype is \"{}\", expected fp32 or bf16", name,
          escaped(dtype));
  settings.compute = parse_dtype(dtype, "--dtype");
  parse_optimizer(optimizer, settings.optimizer);
  settings.schedule.kind = parse_schedule(schedule);
  check_training(name, settings);

  const OpenedModel opened = open_model(model, config_path, src_strategy);
  const WeightSource& source = opened.source;
  const LlamaConfig& config = opened.config;
  const ProbeInput in = read_input(input, train ? 3 : 2, config.vocab_size);
  ThreadPool pool(static_cast<int>(threads));
  const std::unique_ptr<ops::Device> device = open_device(device_word);
  ops::Exec exec{.pool = pool, .device = device.get()};
  Output out;
  if (train) {
    settings.schedule.total_steps = total_steps.value_or(in.steps());
    TrainState state(config, DType::f32, true, whole_model(config), {}, device.get());
    load_parameters(source, state.weights, pool);
    probe_training(config, state, settings, in, exec, out);
  } else {
    // fp32: weights are widened; bf16: they are rounded to what the products see.
    ParamArena weights(config, settings.compute, whole_model(config), {}, device.get());
    load_parameters(source, weights, pool);
    probe_once(config, weights, settings.compute, in, grads, exec, out);
  }
  out.save(output);
  return 0;
}

}  // namespace cria::cli
