// What a run tells about itself. The trainer knows nothing of log formats.
#pragma once

#include <cstdint>
#include <string>

#include "train/stragglers.h"

namespace cria {

struct RunReport {
  int64_t samples = 0, steps_per_epoch = 0, total_steps = 0, epochs = 0;
  int64_t global_batch = 0, seq_len = 0;
  int64_t parameters = 0;
  int64_t first_step = 0;  // batches done before, when resumed
};

struct StepReport {
  int64_t epoch = 0, epochs = 0;                   // from 1
  int64_t step_in_epoch = 0, steps_per_epoch = 0;  // from 1
  int64_t batch = 0, total_batches = 0;            // of the whole run, from 1
  double loss = 0, lr = 0, grad_norm = 0, loss_scale = 1;
  bool overflow = false;  // the update was skipped
  double seconds = 0;     // of this step
  int64_t samples = 0, tokens = 0, trained_tokens = 0;
  double flops = 0;  // model FLOPs of the step (docs/training.md, "counting")
};

class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void begin(const RunReport& run) { (void)run; }
  virtual void step(const StepReport& step) { (void)step; }
  virtual void saving(int64_t step) { (void)step; }
  virtual void saved(const std::string& folder) { (void)folder; }
  virtual void slow_rank(const Straggler& rank) { (void)rank; }
  virtual void end(double seconds) { (void)seconds; }
};

}  // namespace cria
