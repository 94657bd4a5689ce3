// Learning rates by name, as MindFormers computes them.
#pragma once

#include <cstdint>
#include <string_view>

namespace cria {

struct Schedule {
  enum class Kind { constant, linear, cosine, cosine_restarts, polynomial } kind = Kind::cosine;
  double lr = 1e-5;  // peak
  double lr_end = 0;
  double warmup_lr_init = 0;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;
  int64_t decay_steps = 0;  // 0: total_steps (polynomial: total_steps - warmup_steps)
  double num_cycles = 0.5;  // cosine: half a wave; cosine_restarts: whole waves, then usually 1
  double power = 1;         // polynomial
  bool operator==(const Schedule&) const = default;
};

/// "CosineWithWarmUpLR", "ConstantWarmUpLR", "LinearWithWarmUpLR", "CosineWithRestartsAndWarmUpLR",
/// "PolynomialWithWarmUpLR", and short names "cosine", "constant", "linear". Throws UsageError with the nearest.
Schedule::Kind parse_schedule(std::string_view name);

/// The rate of step `step`, counted from 0 (so the first step of a warm-up has warmup_lr_init).
/// docs/training.md has the formulas. Throws UsageError in check_schedule for settings that make no sense.
double learning_rate(const Schedule& schedule, int64_t step);
void check_schedule(const Schedule& schedule);

}  // namespace cria
