// The recipe's arithmetic of batches, sinks and warm-up.
#include <algorithm>

#include "base/error.h"
#include "recipe/modes.h"

namespace cria::recipe {

StepPlan plan_steps(const RecipeSettings& s, int64_t samples) {
  StepPlan p;
  p.global_batch =
      s.batch_size * s.interleave * s.accumulation * s.parallel.micro_batches * s.parallel.dp;
  p.steps_per_epoch = samples / p.global_batch;
  require(p.steps_per_epoch >= 1,
          "run: {} samples do not fill one global batch of {}; try: a smaller "
          "runner_config.batch_size",
          samples, p.global_batch);
  require(s.epochs <= (int64_t{1} << 40) / p.steps_per_epoch,
          "run: {} epochs of {} steps: too many", s.epochs, p.steps_per_epoch);
  const int64_t all = p.steps_per_epoch * s.epochs;
  if (s.sink_mode) p.sink_size = s.sink_size > 0 ? s.sink_size : p.steps_per_epoch;
  p.sink_epochs = all / p.sink_size;
  require(p.sink_epochs >= 1, "run: {} steps do not fill one sink of {}; try: a smaller sink_size",
          all, p.sink_size);
  p.total_steps = p.sink_epochs * p.sink_size;

  const ScheduleSettings& r = s.schedule;
  p.schedule = r.schedule;
  p.schedule.total_steps = r.total_steps > 0 ? r.total_steps : p.total_steps;
  if (r.warmup_steps) {
    p.schedule.warmup_steps = *r.warmup_steps;
  } else if (r.warmup_epochs) {
    p.schedule.warmup_steps =
        static_cast<int64_t>(*r.warmup_epochs * static_cast<double>(p.steps_per_epoch));
  } else if (r.warmup_ratio) {
    // Of the automatic total, even where total_steps is given.
    p.schedule.warmup_steps =
        static_cast<int64_t>(static_cast<double>(p.total_steps) * *r.warmup_ratio);
  }
  check_schedule(p.schedule);
  if (s.max_steps > 0) p.total_steps = std::min(p.total_steps, s.max_steps);
  return p;
}

}  // namespace cria::recipe
