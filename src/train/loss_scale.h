// The factor on the loss that keeps small f16 gradients from vanishing. Constant 1 in the recipe.
#pragma once

#include <cstdint>
#include <vector>

namespace cria {

struct LossScaleSettings {
  enum class Kind { fixed, dynamic, adaptive } kind = Kind::fixed;
  double value = 1;       // start value
  double factor = 2;      // dynamic, adaptive
  int64_t window = 1000;  // dynamic: steps without overflow before the scale grows
  int64_t max_window = 1000, min_window = 20;  // adaptive
};

/// MindSpore's update rules; the fields of State are what a checkpoint keeps.
class LossScale {
 public:
  struct State {
    double scale = 1;
    int64_t counter = 1, last_overflow = 0;
    int64_t rung = 0, rises = 0, falls = 0;  // adaptive
    bool operator==(const State&) const = default;
  };
  explicit LossScale(const LossScaleSettings& settings);
  [[nodiscard]] double scale() const { return state_.scale; }
  /// True when overflows cannot shrink it further: the next one is a failure of the run.
  [[nodiscard]] bool at_minimum() const {
    return settings_.kind == LossScaleSettings::Kind::fixed || state_.scale <= 1;
  }
  void update(bool overflow);
  [[nodiscard]] const State& state() const { return state_; }
  /// Throws FormatError for no possible state, MismatchError for one of a scale with other windows.
  void restore(const State& state);

 private:
  [[nodiscard]] int64_t window() const;
  LossScaleSettings settings_;
  std::vector<int64_t> ladder_;  // adaptive: windows from large to small
  State state_;
};

}  // namespace cria
