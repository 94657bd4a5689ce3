#include "train/trainer.h"

#include "base/error.h"
#include "train/trainer_impl.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int kMaxSkippedInARow = 3;

}  // namespace

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
size_t Trainer::size_bytes() const {
  return impl_->grads.size_bytes() + impl_->entrance.size_bytes() +
         (impl_->sums ? impl_->sums->size_bytes() : 0) + impl_->pipeline.activation_bytes();
}

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
  if (!t.settings.checkpoint_root.empty()) t.store.emplace(t.settings.checkpoint_root, t.groups);
  t.extra_save = extra_save;
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
      t.save(t.settings.async_save &&
             t.exec.device == nullptr);  // a device takes one call at a time
      last_saved = t.batches_done;
    }
    if (result.stopped_by_signal) break;
  }
  t.finish_save();
  if (t.settings.save_at_end && last_saved != t.batches_done) t.save(false);
  t.store.reset();
  result.batches = t.batches_done;
  result.updates = t.state.step;
  result.skipped = t.skipped;
  result.seconds = seconds_since(start);
  if (!result.stopped_by_signal) t.reporter.end(result.seconds);
  return result;
}

}  // namespace cria
