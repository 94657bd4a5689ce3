#include "recipe/recipe_reporter.h"

#include <fmt/core.h>

#include <algorithm>

namespace cria::recipe {

RecipeReporter::RecipeReporter(RecipeLog& log, const RecipeSettings& settings,
                               int64_t steps_per_epoch,
                               std::function<void(const StepReport&)> after_step)
    : log_(log),
      sink_mode_(settings.sink_mode),
      sink_size_(settings.sink_size > 0 ? settings.sink_size : steps_per_epoch),
      print_every_(settings.print_every),
      after_step_(std::move(after_step)) {
  if (!sink_mode_) sink_size_ = 1;
}

void RecipeReporter::begin(const RunReport& run) {
  last_printed_ = run.first_step;
  if (run.first_step > 0) log_.info(fmt::format("Training goes on after step {}", run.first_step));
}

void RecipeReporter::step(const StepReport& s) {
  if (s.epoch != epoch_) {
    epoch_ = s.epoch;
    epoch_loss_ = 0;
    epoch_steps_ = 0;
  }
  epoch_loss_ += s.loss;
  ++epoch_steps_;
  seconds_ += s.seconds;
  flops_ += s.flops;
  samples_ += s.samples;
  ++steps_;
  overflow_ |= s.overflow;
  // A sink that a stop cuts short still shows its last step.
  const bool sink_ends = s.batch % sink_size_ == 0 || s.batch == s.total_batches;
  if (sink_ends && s.batch - last_printed_ >= print_every_) print(s);
  if (after_step_) after_step_(s);
}

void RecipeReporter::print(const StepReport& s) {
  const double seconds = std::max(seconds_, 1e-9);
  const double per_step = seconds / static_cast<double>(steps_);
  log_.info(step_line({.epoch = s.epoch,
                       .epochs = s.epochs,
                       .step = s.step_in_epoch,
                       .steps = s.steps_per_epoch,
                       .loss = s.loss,
                       .mean_loss = epoch_loss_ / static_cast<double>(epoch_steps_),
                       .seconds_per_step = per_step,
                       .lr = s.lr,
                       .loss_scale = s.loss_scale,
                       .grad_norm = s.grad_norm,
                       .overflow = overflow_,
                       .tflops = flops_ / seconds * 1e-12},
                      sink_mode_));
  log_.info(bar_line(static_cast<double>(s.batch) / static_cast<double>(s.total_batches),
                     static_cast<double>(samples_) / seconds,
                     per_step * static_cast<double>(s.total_batches - s.batch)));
  last_printed_ = s.batch;
  seconds_ = flops_ = 0;
  samples_ = steps_ = 0;
  overflow_ = false;
}

void RecipeReporter::slow_rank(const Straggler& s) {
  log_.info(
      fmt::format("Rank {} is slow: {:.3f} s of work in a step, {:.3f} s on the ranks beside it, "
                  "{} reports in a row; its host may be shared, or its threads too few",
                  s.rank, s.seconds, s.median, Stragglers::kReports));
}
void RecipeReporter::saving(int64_t) { log_.info("......Saving ckpt......"); }
void RecipeReporter::end(double) { log_.info(".........Training Over!............."); }

}  // namespace cria::recipe
