#include "train/trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "train/data_parallel.h"
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
  TrainState& state;
  const LlamaConfig& config;
  const TrainSettings& settings;
  SampleSource& source;
  Groups& groups;
  ops::Exec& exec;
  Reporter& reporter;
  Pipeline pipeline;
  ParamArena grads;
  Tensor entrance;  // the entrance's part of a tied table's gradient, where it is kept apart
  LossScale loss_scale;
  std::vector<Samples> micros;                  // the micro batches of one step
  StopSignals* signals = nullptr;               // while run() goes on
  bool stop_asked = false, save_asked = false;  // on any rank
  // What a checkpoint keeps besides the arenas.
  int64_t batches_done = 0, skipped = 0, skipped_in_a_row = 0, samples_seen = 0, tokens_seen = 0;

  Impl(TrainState& s, const TrainSettings& t, SampleSource& d, Groups& g, ops::Exec& e, Reporter& r)
      : state(s),
        config(s.weights.config()),
        settings(t),
        source(d),
        groups(g),
        exec(e),
        reporter(r),
        pipeline(s.weights, t.pipeline, t.compute, t.recompute, g, e),
        grads(config, DType::f32, s.weights.part()),
        loss_scale(t.loss_scale),
        micros(static_cast<size_t>(t.gradient_accumulation_steps)) {
    // One sum over micro batches and ranks each for head and entrance: then no layout changes a bit of their sum.
    const bool several = t.gradient_accumulation_steps > 1 || g.grid.dp > 1;
    if (grads.index().shared() && several) {
      const View table = grads[grads.index().embed_tokens()];
      entrance = Tensor(DType::f32, table.rows, table.cols);
    }
  }

  [[nodiscard]] int64_t global_batch() const {
    return settings.batch_size * settings.gradient_accumulation_steps * groups.grid.dp;
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
  void read_micro_batches(StepReport& report);
  void forward_backward(StepReport& report, ExactSum& loss);
  void agree(StepReport& report, ExactSum& loss, ExactSum& squares);
  void update(StepReport& report);
  StepReport train_step();
  void set_deadline(double seconds) {
    groups.shared.settings.deadline = std::chrono::milliseconds(std::llround(1000 * seconds));
  }
  void set_step_deadline();
  std::vector<double> step_seconds;  // of the latest steps
};

constexpr double kStartDeadline = 300, kSaveDeadline = 600, kLeastStepDeadline = 60;

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

// All micro batches are read first, because every gradient is scaled by the trained tokens of the whole step.
void Trainer::Impl::read_micro_batches(StepReport& report) {
  const int64_t epoch = batches_done / steps_per_epoch();
  const int64_t step_in_epoch = batches_done % steps_per_epoch();
  std::array<int64_t, 3> counts{};
  for (size_t m = 0; m < micros.size(); ++m) {
    const int64_t blocks = static_cast<int64_t>(m) * groups.grid.dp + groups.grid.dp_index();
    source.fill(epoch, step_in_epoch * global_batch() + blocks * settings.batch_size,
                settings.batch_size, micros[m]);
    counts[0] += micros[m].trained();
    counts[1] += micros[m].tokens();
    counts[2] += micros[m].count();
  }
  groups.dp.all_reduce(counts);
  report.trained_tokens = counts[0];
  report.tokens = counts[1];
  report.samples = counts[2];
  const int64_t seq_len = report.tokens / std::max<int64_t>(1, report.samples);
  report.flops = 3 * forward_flops_per_token(config, seq_len) * static_cast<double>(report.tokens);
  report.epoch = epoch + 1;
  report.epochs = settings.epochs;
  report.step_in_epoch = step_in_epoch + 1;
  report.steps_per_epoch = steps_per_epoch();
}

void Trainer::Impl::forward_backward(StepReport& report, ExactSum& loss) {
  const double trained = static_cast<double>(std::max<int64_t>(1, report.trained_tokens));
  const bool speaks = groups.grid.tp_index() == 0;  // all ranks of a tp group see the same losses
  pipeline.train(micros, static_cast<float>(loss_scale.scale() / trained),
                 {grads, entrance.rows() > 0 ? entrance.view() : View()},
                 [&](int64_t, std::span<const float> token_loss) {
                   if (!speaks) return;
                   for (const float l : token_loss) loss.add(l);
                 });
  combine_gradients(state, grads, entrance.rows() > 0 ? entrance.view() : View(),
                    settings.pipeline.sequence_parallel, groups, exec);
}

// What every rank must know alike: the loss, the gradient's norm, and whether anybody was asked to stop or save.
void Trainer::Impl::agree(StepReport& report, ExactSum& loss, ExactSum& squares) {
  std::vector<int64_t> message = {signals->stop_asked() ? 1 : 0,
                                  signals->take_save_asked() ? 1 : 0};
  for (ExactSum* sum : {&loss, &squares}) {
    const std::span<const int64_t> limbs = sum->limbs();
    message.insert(message.end(), limbs.begin(), limbs.end());
  }
  groups.world.all_reduce(message);
  stop_asked = message[0] > 0;
  save_asked = message[1] > 0;
  std::span<int64_t> rest(message.begin() + 2, message.end());
  for (ExactSum* sum : {&loss, &squares}) {
    const std::span<int64_t> limbs = sum->limbs();
    std::ranges::copy(rest.first(limbs.size()), limbs.begin());
    rest = rest.subspan(limbs.size());
  }
  report.loss = loss.value() / static_cast<double>(std::max<int64_t>(1, report.trained_tokens));
  report.grad_norm = std::sqrt(squares.value()) / report.loss_scale;
  report.overflow = !std::isfinite(report.loss) || !std::isfinite(report.grad_norm);
}

void Trainer::Impl::update(StepReport& report) {
  const bool hopeless = report.overflow && loss_scale.at_minimum();
  loss_scale.update(report.overflow);
  if (report.overflow) {
    ++skipped;
    skipped_in_a_row = hopeless ? skipped_in_a_row + 1 : 0;
    return;
  }
  skipped_in_a_row = 0;
  optimizer_step(state, grads, settings.optimizer, report.lr, report.grad_norm, report.loss_scale,
                 exec);
  gather_weights(state, groups);
}

void Trainer::Impl::set_step_deadline() {
  double seconds = settings.step_timeout;
  if (seconds <= 0) {
    std::vector<double> sorted = step_seconds;
    std::ranges::sort(sorted);
    const double median = sorted.empty() ? 0 : sorted[sorted.size() / 2];
    seconds = std::max(kLeastStepDeadline, 10 * median);
  }
  set_deadline(step_seconds.empty() ? std::max(seconds, kStartDeadline) : seconds);
}

StepReport Trainer::Impl::train_step() {
  const auto start = Clock::now();
  set_step_deadline();
  StepReport report;
  report.lr = learning_rate(settings.schedule, state.step);
  report.loss_scale = loss_scale.scale();
  read_micro_batches(report);
  ExactSum loss, squares;
  forward_backward(report, loss);
  add_squared_gradients(state, grads, groups.grid, squares, exec);
  agree(report, loss, squares);
  update(report);
  ++batches_done;
  samples_seen += report.samples;
  tokens_seen += report.tokens;
  report.batch = batches_done;
  report.total_batches = total_batches();
  report.seconds = seconds_since(start);
  constexpr size_t kRemembered = 64;
  if (step_seconds.size() == kRemembered) step_seconds.erase(step_seconds.begin());
  step_seconds.push_back(report.seconds);
  return report;
}

Trainer::Trainer(const LlamaConfig& config, TrainState& state, const TrainSettings& settings,
                 SampleSource& samples, ops::Exec& exec, Reporter& reporter)
    : alone_(std::make_unique<OneRank>()) {
  check(config == state.weights.config(), "the state is the model's");
  prepare(state, settings, samples, alone_->groups, exec, reporter);
}
Trainer::Trainer(TrainState& state, const TrainSettings& settings, SampleSource& samples,
                 Groups& groups, ops::Exec& exec, Reporter& reporter) {
  prepare(state, settings, samples, groups, exec, reporter);
}

void Trainer::prepare(TrainState& state, const TrainSettings& settings, SampleSource& samples,
                      Groups& groups, ops::Exec& exec, Reporter& reporter) {
  check_schedule(settings.schedule);
  require(
      settings.batch_size >= 1 && settings.gradient_accumulation_steps >= 1 && settings.epochs >= 1,
      "train: batch_size {}, gradient_accumulation_steps {} and epochs {} must be 1 or more",
      settings.batch_size, settings.gradient_accumulation_steps, settings.epochs);
  impl_ = std::make_unique<Impl>(state, settings, samples, groups, exec, reporter);
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
    if (!load_newest_checkpoint(impl_->settings.checkpoint_root, c, impl_->groups.world))
      return false;
  } else {
    load_checkpoint(folder, c, impl_->groups.world);
  }
  impl_->restore(c.state_json);
  return true;
}

TrainResult Trainer::run(const ExtraSave& extra_save) {
  Impl& t = *impl_;
  const auto start = Clock::now();
  StopSignals signals;
  t.signals = &signals;
  std::optional<CheckpointStore> store;
  if (!t.settings.checkpoint_root.empty()) store.emplace(t.settings.checkpoint_root, t.groups);
  const auto save = [&] {
    t.set_deadline(kSaveDeadline);
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
    result.stopped_by_signal = t.stop_asked;
    const bool due =
        t.settings.save_every > 0 && t.batches_done >= last_saved + t.settings.save_every;
    if (due || result.stopped_by_signal || t.save_asked) {
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
