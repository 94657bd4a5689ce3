#include "train/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace cria {
namespace {

constexpr std::array<std::pair<std::string_view, Schedule::Kind>, 9> kNames = {{
    {"CosineWithWarmUpLR", Schedule::Kind::cosine},
    {"ConstantWarmUpLR", Schedule::Kind::constant},
    {"LinearWithWarmUpLR", Schedule::Kind::linear},
    {"CosineWithRestartsAndWarmUpLR", Schedule::Kind::cosine_restarts},
    {"PolynomialWithWarmUpLR", Schedule::Kind::polynomial},
    {"cosine", Schedule::Kind::cosine},
    {"constant", Schedule::Kind::constant},
    {"linear", Schedule::Kind::linear},
    {"polynomial", Schedule::Kind::polynomial},
}};

double half_cosine(double phase) { return std::max(0.0, 0.5 * (1.0 + std::cos(phase))); }

}  // namespace

Schedule::Kind parse_schedule(std::string_view name) {
  std::vector<std::string> known;
  for (const auto& [text, kind] : kNames) {
    if (text == name) return kind;
    known.emplace_back(text);
  }
  const auto guess = nearest(name, known);
  throw UsageError(fmt::format("lr_schedule: unknown type \"{}\"; try: {}", escaped(name),
                               guess ? *guess : "CosineWithWarmUpLR"));
}

void check_schedule(const Schedule& s) {
  require(std::isfinite(s.lr) && s.lr >= 0,
          "lr_schedule: learning_rate is {}, expected a finite number of 0 or more", s.lr);
  require(std::isfinite(s.lr_end) && s.lr_end >= 0,
          "lr_schedule: lr_end is {}, expected a finite number of 0 or more", s.lr_end);
  require(s.warmup_steps >= 0, "lr_schedule: warmup_steps is {}, expected 0 or more",
          s.warmup_steps);
  require(s.total_steps >= 1, "lr_schedule: total_steps is {}, expected 1 or more", s.total_steps);
  if (s.kind == Schedule::Kind::polynomial) {
    require(s.lr > s.lr_end,
            "lr_schedule: lr_end {} must be below learning_rate {} in PolynomialWithWarmUpLR",
            s.lr_end, s.lr);
    require(s.decay_steps <= s.total_steps - s.warmup_steps,
            "lr_schedule: decay_steps {} is more than total_steps - warmup_steps = {}",
            s.decay_steps, s.total_steps - s.warmup_steps);
  }
}

double learning_rate(const Schedule& s, int64_t step) {
  const auto at = static_cast<double>(step);
  const auto warmup = static_cast<double>(s.warmup_steps);
  const auto total = static_cast<double>(s.total_steps);
  if (step < s.warmup_steps) return s.warmup_lr_init + (s.lr - s.warmup_lr_init) * at / warmup;
  const double progress = (at - warmup) / std::max(1.0, total - warmup);
  const int64_t decay_steps = s.decay_steps > 0 ? s.decay_steps : s.total_steps;
  const double range = s.lr - s.lr_end;
  switch (s.kind) {
    case Schedule::Kind::constant:
      return s.lr;
    case Schedule::Kind::linear:
      return s.lr * std::max(0.0, (total - at) / std::max(1.0, total - warmup));
    case Schedule::Kind::cosine:
      if (step >= decay_steps) return s.lr_end;
      return s.lr_end + range * half_cosine(2 * std::numbers::pi * s.num_cycles * progress);
    case Schedule::Kind::cosine_restarts:
      if (step >= decay_steps) return s.lr_end;
      if (progress >= 1) return 0;
      return s.lr_end +
             range * half_cosine(std::numbers::pi * std::fmod(s.num_cycles * progress, 1.0));
    case Schedule::Kind::polynomial: {
      if (step > s.total_steps) return s.lr_end;
      const double decay =
          s.decay_steps > 0 ? static_cast<double>(s.decay_steps) : std::max(1.0, total - warmup);
      return range * std::pow(1.0 - (at - warmup) / decay, s.power) + s.lr_end;
    }
  }
  return s.lr;
}

}  // namespace cria
