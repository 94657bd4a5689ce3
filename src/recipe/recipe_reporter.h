// Training's reports as the recipe's log lines.
#pragma once

#include <functional>

#include "recipe/log.h"
#include "recipe/settings.h"

namespace cria::recipe {

class RecipeReporter : public Reporter {
 public:
  /// `after_step` runs after every step's lines, e.g. an evaluation.
  RecipeReporter(RecipeLog& log, const RecipeSettings& settings, int64_t steps_per_epoch,
                 std::function<void(const StepReport&)> after_step);
  void begin(const RunReport& run) override;
  void step(const StepReport& step) override;
  void saving(int64_t step) override;
  void slow_rank(const Straggler& rank) override;
  void end(double seconds) override;

 private:
  void print(const StepReport& step);
  RecipeLog& log_;
  bool sink_mode_;
  int64_t sink_size_, print_every_, last_printed_ = 0;
  std::function<void(const StepReport&)> after_step_;
  // Since the last line; and of the epoch.
  double seconds_ = 0, flops_ = 0, epoch_loss_ = 0;
  int64_t samples_ = 0, steps_ = 0, epoch_steps_ = 0, epoch_ = 0;
  bool overflow_ = false;
};

}  // namespace cria::recipe
