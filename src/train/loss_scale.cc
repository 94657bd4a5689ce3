#include "train/loss_scale.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace cria {

LossScale::LossScale(const LossScaleSettings& settings) : settings_(settings) {
  require(std::isfinite(settings.value) && settings.value > 0,
          "scale_sense: loss_scale_value is {}, expected a positive number", settings.value);
  require(settings.kind == LossScaleSettings::Kind::fixed || settings.factor > 1,
          "scale_sense: scale_factor is {}, expected more than 1", settings.factor);
  require(settings.window >= 1 && settings.min_window >= 1 &&
              settings.max_window >= settings.min_window,
          "scale_sense: windows are {}, {} and {}, expected 1 or more and the largest not below "
          "the smallest",
          settings.window, settings.min_window, settings.max_window);
  state_.scale = settings.value;
  // Halve the largest window again and again: rounded down to hundreds, below 100 as it falls, down to the smallest.
  for (int64_t w = settings.max_window; w > settings.min_window; w /= 2) {
    const int64_t rounded = w >= 100 ? w / 100 * 100 : w;
    if (ladder_.empty() || rounded < ladder_.back()) ladder_.push_back(rounded);
  }
  ladder_.push_back(settings.min_window);
  state_.rung = static_cast<int64_t>(ladder_.size()) - 1;
}

int64_t LossScale::window() const {
  if (settings_.kind == LossScaleSettings::Kind::dynamic) return settings_.window;
  return state_.falls >= 3 ? 1 : ladder_[static_cast<size_t>(state_.rung)];
}

void LossScale::update(bool overflow) {
  if (settings_.kind == LossScaleSettings::Kind::fixed) return;
  if (overflow) {
    state_.scale = std::max(state_.scale / settings_.factor, 1.0);
    state_.last_overflow = state_.counter;
    state_.rises = 0;
    ++state_.falls;
  } else if (state_.counter - state_.last_overflow >= window()) {
    state_.scale *= settings_.factor;
    state_.last_overflow = state_.counter;
    state_.falls = 0;
    if (++state_.rises >= 3) {
      state_.rises = 0;
      state_.rung = std::max<int64_t>(0, state_.rung - 1);
    }
  }
  ++state_.counter;
}

void LossScale::restore(const State& state) {
  require<FormatError>(std::isfinite(state.scale) && state.scale > 0,
                       "resume: checkpoint state: a loss scale of {}", state.scale);
  require<MismatchError>(state.rung >= 0 && state.rung < std::ssize(ladder_),
                         "resume: the checkpoint's loss scale is at window {} of this run's {}",
                         state.rung + 1, ladder_.size());
  state_ = state;
}

}  // namespace cria
