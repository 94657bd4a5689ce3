// The training loop: batches in, updates and checkpoints out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "checkpoint/train_checkpoint.h"
#include "comm/groups.h"
#include "train/loss_scale.h"
#include "train/optimizer.h"
#include "train/pipeline.h"
#include "train/reporter.h"
#include "train/samples.h"
#include "train/schedule.h"

namespace cria {

struct TrainSettings {
  int64_t epochs = 1;
  int64_t batch_size = 1;  // samples per micro batch of one data-parallel rank
  /// Micro batches per update; those that flow through a pipeline are these too.
  int64_t gradient_accumulation_steps = 1;
  PipelineSettings pipeline;
  int64_t max_steps = 0;  // 0: no cap; else the run ends after so many batches
  uint64_t seed = 0;      // kept in checkpoints; the order of samples is the source's
  DType compute = DType::bf16;
  RecomputePolicy recompute;
  Schedule schedule;
  OptimizerSettings optimizer;
  LossScaleSettings loss_scale;
  /// Training checkpoints; empty: none are written.
  std::string checkpoint_root;
  int64_t save_every = 0;  // batches; 0: only at the end
  bool save_at_end = true;
  /// Checkpoints are written while the next step runs up to its update, which waits for them. Not on a device.
  bool async_save = false;
  int keep = 5;
  /// The recipe's sums: each micro batch's loss is a mean of its own, their gradients are added up (divided by their number in a
  /// pipeline), and the loss told is the mean of the means. False: one mean over all trained tokens of the step.
  bool strict_upstream = false;
  /// Sums of gradients over ranks begin when a bucket of layers is through. 0: one bucket a layer.
  int64_t gradient_buckets = 0;
  /// Steps between comparisons of what several ranks hold alike; 0: never.
  int64_t check_replicas_every = 100;
  /// Steps between comparisons of ranks' times (Stragglers); 0: never.
  int64_t compare_times_every = 50;
  /// How long a rank waits for others before it gives up (exit 7), in seconds. 0: 60 s, or ten times the median step when that
  /// is longer. The first step, which also waits for ranks that still load, has at least 300 s, and saving 600 s.
  double step_timeout = 0;
  /// What must agree when resuming, e.g. the tokenizer's fingerprint: name -> value. Kept in checkpoints and compared.
  std::map<std::string, std::string> identity;
};

struct TrainResult {
  int64_t batches = 0, updates = 0, skipped = 0;
  double first_loss = 0, last_loss = 0;
  double seconds = 0;
  bool stopped_by_signal = false;
};

/// Called when the native checkpoint of so many batches was committed and its values are still those of the run. May be empty.
using ExtraSave = std::function<void(int64_t batches_done)>;

class Trainer {
 public:
  /// One rank with the whole model.
  Trainer(const LlamaConfig& config, TrainState& state, const TrainSettings& settings,
          SampleSource& samples, ops::Exec& exec, Reporter& reporter);
  /// `state` is of part_of(config, groups.grid, settings.pipeline). With several ranks, all of them make the same calls; only the
  /// reporter of rank 0 should speak.
  Trainer(TrainState& state, const TrainSettings& settings, SampleSource& samples, Groups& groups,
          ops::Exec& exec, Reporter& reporter);
  ~Trainer();

  /// Continues from the newest valid checkpoint under checkpoint_root, or from `folder` when it is not empty. False when there is none.
  /// Throws MismatchError when shape, tokenizer or data differ from the saved run's.
  bool resume(const std::string& folder = {});
  /// Runs to the end of the last epoch. A non-finite step is skipped and counted; the third in a row throws
  /// Error(numbers). SIGTERM and SIGINT finish the step, save, and return with stopped_by_signal; SIGUSR1 saves and goes on.
  TrainResult run(const ExtraSave& extra_save = {});

  [[nodiscard]] int64_t steps_per_epoch() const;
  [[nodiscard]] int64_t total_batches() const;
  [[nodiscard]] int64_t batches_done() const;
  /// Of gradients, activations and workspace so far; the state is the caller's.
  [[nodiscard]] size_t size_bytes() const;

 private:
  struct Impl;
  void prepare(TrainState& state, const TrainSettings& settings, SampleSource& samples,
               Groups& groups, ops::Exec& exec, Reporter& reporter);
  std::unique_ptr<OneRank> alone_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cria
