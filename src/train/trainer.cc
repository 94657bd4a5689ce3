#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "train/stop_signals.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int kMaxSkippedInARow = 3;

}  // namespace

struct Trainer::Impl {
  const LlamaConfig& config;
  TrainState& state;
  const TrainSettings& settings;
  SampleSource& source;
  ops::Exec& exec;
  Reporter& reporter;
  Trainee trainee;
  ParamArena grads;
  LossScale loss_scale;
  std::vector<Samples> parts;  // the micro batches of one step
  std::vector<float> token_loss;
  // What a checkpoint keeps besides the arenas.
  int64_t batches_done = 0, skipped = 0, skipped_in_a_row = 0, samples_seen = 0, tokens_seen = 0;

  Impl(const LlamaConfig& c, TrainState& s, const TrainSettings& t, SampleSource& d, ops::Exec& e,
       Reporter& r)
      : config(c),
        state(s),
        settings(t),
        source(d),
        exec(e),
        reporter(r),
        trainee(c, s.weights, t.compute, t.recompute, e),
        grads(c, DType::f32),
        loss_scale(t.loss_scale),
        parts(static_cast<size_t>(t.gradient_accumulation_steps)) {}

  [[nodiscard]] int64_t global_batch() const {
    return settings.batch_size * settings.gradient_accumulation_steps;
  }
  [[nodiscard]] int64_t steps_per_epoch() const {
    return source.samples_per_epoch() / global_batch();
  }
  [[nodiscard]] int64_t total_batches() const {
    const int64_t all = settings.epochs * steps_per_epoch();
    return settings.max_steps > 0 ? std::min(all, settings.max_steps) : all;
  }

  CheckpointContent content();
  std::string save(CheckpointStore& store);
  void restore(const std::string& state_json);
  StepReport train_step();
};

CheckpointContent Trainer::Impl::content() {
  CheckpointContent c;
  c.groups = {{"weights", &state.weights}, {"adam_m", &state.m}, {"adam_v", &state.v}};
  if (state.low) c.groups["master_lo"] = &*state.low;
  if (state.master) c.groups["master"] = &*state.master;
  return c;
}

std::string Trainer::Impl::save(CheckpointStore& store) {
  reporter.saving(batches_done);
  CheckpointContent c = content();
  Json json = Json::object();
  const LossScale::State& scale = loss_scale.state();
  json["batches_done"] = batches_done;
  json["updates"] = state.step;
  json["skipped"] = skipped;
  json["skipped_in_a_row"] = skipped_in_a_row;
  json["samples_seen"] = samples_seen;
  json["tokens_seen"] = tokens_seen;
  json["seed"] = settings.seed;
  json["global_batch"] = global_batch();
  json["dataset"] = source.fingerprint();
  json["loss_scale"] = {
      {"scale", scale.scale}, {"counter", scale.counter}, {"last_overflow", scale.last_overflow},
      {"rung", scale.rung},   {"rises", scale.rises},     {"falls", scale.falls}};
  json["identity"] = settings.identity;
  c.state_json = json.dump();
  const std::string folder = store.save(batches_done, config, c, settings.keep);
  reporter.saved(folder);
  return folder;
}

void Trainer::Impl::restore(const std::string& state_json) {
  const Json json = parse_json(state_json, "resume", "checkpoint state");
  const auto same = [&](std::string_view field, const std::string& saved, const std::string& now) {
    require<MismatchError>(saved == now, "resume: {} of the checkpoint is {}, of this run {}",
                           field, saved, now);
  };
  try {
    same("the dataset fingerprint", json.at("dataset").get<std::string>(), source.fingerprint());
    same("the seed", std::to_string(json.at("seed").get<uint64_t>()),
         std::to_string(settings.seed));
    same("the global batch", std::to_string(json.at("global_batch").get<int64_t>()),
         std::to_string(global_batch()));
    for (const auto& [name, value] : settings.identity) {
      same(name, json.at("identity").value(name, std::string("(none)")), value);
    }
    batches_done = json.at("batches_done").get<int64_t>();
    state.step = json.at("updates").get<int64_t>();
    skipped = json.at("skipped").get<int64_t>();
    skipped_in_a_row = json.at("skipped_in_a_row").get<int64_t>();
    samples_seen = json.at("samples_seen").get<int64_t>();
    tokens_seen = json.at("tokens_seen").get<int64_t>();
    const Json& s = json.at("loss_scale");
    loss_scale.restore({s.at("scale").get<double>(), s.at("counter").get<int64_t>(),
                        s.at("last_overflow").get<int64_t>(), s.at("rung").get<int64_t>(),
                        s.at("rises").get<int64_t>(), s.at("falls").get<int64_t>()});
  } catch (const nlohmann::json::exception& e) {
    throw FormatError(fmt::format("resume: checkpoint state: {}", escaped(e.what(), 120)));
  }
}

// One update: all parts are read first, because every gradient is scaled by the trained tokens of the whole step.
StepReport Trainer::Impl::train_step() {
  const auto start = Clock::now();
  StepReport report;
  const int64_t epoch = batches_done / steps_per_epoch();
  const int64_t step_in_epoch = batches_done % steps_per_epoch();
  for (size_t p = 0; p < parts.size(); ++p) {
    const int64_t position =
        step_in_epoch * global_batch() + static_cast<int64_t>(p) * settings.batch_size;
    source.fill(epoch, position, settings.batch_size, parts[p]);
    report.trained_tokens += parts[p].trained();
    report.tokens += parts[p].tokens();
    report.samples += parts[p].count();
    report.flops += 3 *
                    forward_flops_per_token(
                        config, parts[p].tokens() / std::max<int64_t>(1, parts[p].count())) *
                    static_cast<double>(parts[p].tokens());
  }
  const double scale = loss_scale.scale();
  double loss_sum = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    token_loss.resize(static_cast<size_t>(parts[p].tokens()));
    trainee.forward_backward(parts[p].batch(),
                             static_cast<float>(scale / static_cast<double>(std::max<int64_t>(
                                                            1, report.trained_tokens))),
                             token_loss, grads, p == 0);
    for (const float l : token_loss) loss_sum += l;
  }
  report.loss = loss_sum / static_cast<double>(std::max<int64_t>(1, report.trained_tokens));
  report.lr = learning_rate(settings.schedule, state.step);
  report.loss_scale = scale;
  report.grad_norm = gradient_norm(grads, scale, exec);
  report.overflow = !std::isfinite(report.loss) || !std::isfinite(report.grad_norm);
  const bool hopeless = report.overflow && loss_scale.at_minimum();
  loss_scale.update(report.overflow);
  if (report.overflow) {
    ++skipped;
    skipped_in_a_row = hopeless ? skipped_in_a_row + 1 : 0;
  } else {
    skipped_in_a_row = 0;
    optimizer_step(state, grads, settings.optimizer, report.lr, report.grad_norm, scale, exec);
  }
  ++batches_done;
  samples_seen += report.samples;
  tokens_seen += report.tokens;
  report.epoch = epoch + 1;
  report.epochs = settings.epochs;
  report.step_in_epoch = step_in_epoch + 1;
  report.steps_per_epoch = steps_per_epoch();
  report.batch = batches_done;
  report.total_batches = total_batches();
  report.seconds = seconds_since(start);
  return report;
}

Trainer::Trainer(const LlamaConfig& config, TrainState& state, const TrainSettings& settings,
                 SampleSource& samples, ops::Exec& exec, Reporter& reporter) {
  check_schedule(settings.schedule);
  require(
      settings.batch_size >= 1 && settings.gradient_accumulation_steps >= 1 && settings.epochs >= 1,
      "train: batch_size {}, gradient_accumulation_steps {} and epochs {} must be 1 or more",
      settings.batch_size, settings.gradient_accumulation_steps, settings.epochs);
  impl_ = std::make_unique<Impl>(config, state, settings, samples, exec, reporter);
  require(impl_->steps_per_epoch() >= 1,
          "train: {} samples do not fill one global batch of {}; try: a smaller batch_size",
          samples.samples_per_epoch(), impl_->global_batch());
}
Trainer::~Trainer() = default;

int64_t Trainer::steps_per_epoch() const { return impl_->steps_per_epoch(); }
int64_t Trainer::total_batches() const { return impl_->total_batches(); }
int64_t Trainer::batches_done() const { return impl_->batches_done; }

bool Trainer::resume(const std::string& folder) {
  CheckpointContent c = impl_->content();
  if (folder.empty()) {
    if (!load_newest_checkpoint(impl_->settings.checkpoint_root, c)) return false;
  } else {
    c.state_json = load_checkpoint(folder, c);
  }
  impl_->restore(c.state_json);
  return true;
}

TrainResult Trainer::run(const ExtraSave& extra_save) {
  Impl& t = *impl_;
  const auto start = Clock::now();
  StopSignals signals;
  std::optional<CheckpointStore> store;
  if (!t.settings.checkpoint_root.empty()) store.emplace(t.settings.checkpoint_root);
  const auto save = [&] {
    if (store) t.save(*store);
    if (extra_save) extra_save(t.batches_done);
  };
  RunReport run{t.source.samples_per_epoch(),
                t.steps_per_epoch(),
                t.total_batches(),
                t.settings.epochs,
                t.global_batch(),
                0,
                count_parameters(t.config),
                t.batches_done};
  t.reporter.begin(run);
  TrainResult result;
  int64_t last_saved = t.batches_done;
  for (bool first = true; t.batches_done < t.total_batches(); first = false) {
    const StepReport report = t.train_step();
    if (first) result.first_loss = report.loss;
    result.last_loss = report.loss;
    t.reporter.step(report);
    if (t.skipped_in_a_row >= kMaxSkippedInARow) {
      throw Error(ExitCode::numbers,
                  fmt::format("train: The current value of loss is NaN, terminate training. ({} "
                              "steps in a row were not finite, the last is batch {})",
                              kMaxSkippedInARow, t.batches_done));
    }
    result.stopped_by_signal = signals.stop_asked();
    const bool due =
        t.settings.save_every > 0 && t.batches_done >= last_saved + t.settings.save_every;
    if (due || result.stopped_by_signal || signals.take_save_asked()) {
      save();
      last_saved = t.batches_done;
    }
    if (result.stopped_by_signal) break;
  }
  if (t.settings.save_at_end && last_saved != t.batches_done) save();
  result.batches = t.batches_done;
  result.updates = t.state.step;
  result.skipped = t.skipped;
  result.seconds = seconds_since(start);
  if (!result.stopped_by_signal) t.reporter.end(result.seconds);
  return result;
}

}  // namespace cria
