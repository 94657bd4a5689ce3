// What the trainer's files share.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "ops/device.h"
#include "train/data_parallel.h"
#include "train/gradient_sums.h"
#include "train/stop_signals.h"
#include "train/trainer.h"

namespace cria {

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
  std::optional<GradientSums> sums;  // with several data-parallel ranks
  Tensor entrance;  // the entrance's part of a tied table's gradient, where it is kept apart
  LossScale loss_scale;
  std::vector<Samples> micros;         // the micro batches of one step
  std::vector<int64_t> micro_trained;  // trained tokens of each, over the data-parallel ranks
  // While run() goes on.
  StopSignals* signals = nullptr;
  std::optional<CheckpointStore> store;
  ExtraSave extra_save;
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
        grads(config, DType::f32, s.weights.part(), s.shard.of_gradients(), e.device),
        loss_scale(t.loss_scale),
        micros(static_cast<size_t>(t.gradient_accumulation_steps)),
        stragglers(g.grid, t.compare_times_every) {
    if (!g.dp.alone()) sums.emplace(s, grads, t.gradient_buckets, g, e);
    // One sum over micro batches and ranks each for head and entrance: then no layout changes a bit of their sum.
    const bool several = t.gradient_accumulation_steps > 1 || g.grid.dp > 1;
    if (grads.index().shared() && several) {
      const View table = grads[grads.index().embed_tokens()];
      entrance = Tensor(DType::f32, table.rows, table.cols, e.device);
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
  /// Begins a checkpoint, and ends it too unless it may go on during the next step.
  void save(bool go_on);
  /// Waits for a checkpoint that was begun, commits it and does what follows.
  void finish_save();
  void restore(const std::string& state_json);
  void read_micro_batches(StepReport& report);
  void forward_backward(const StepReport& report, ExactSum& loss);
  void agree(StepReport& report, ExactSum& loss, ExactSum& squares);
  void update(StepReport& report);
  StepReport train_step();
  /// How long this rank waits for others from now on.
  void set_deadline(double seconds) {
    groups.shared.settings.deadline = std::chrono::milliseconds(std::llround(1000 * seconds));
  }
  void set_step_deadline();
  void set_save_deadline();
  std::vector<double> step_seconds;  // of the latest steps
  Stragglers stragglers;
};

}  // namespace cria
