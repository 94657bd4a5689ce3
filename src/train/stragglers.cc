#include "train/stragglers.h"

#include <algorithm>

namespace cria {

std::vector<Straggler> Stragglers::step(double busy, Comm& world) {
  busy_ += busy;
  if (every_ == 0 || world.alone() || ++steps_ % every_ != 0) return {};
  std::vector<double> seconds(static_cast<size_t>(world.size()));
  seconds[static_cast<size_t>(world.rank())] = busy_ / static_cast<double>(every_);
  busy_ = 0;
  world.all_reduce(std::span(seconds));  // everybody's place is nothing but zeros elsewhere
  return report(seconds);
}

std::vector<Straggler> Stragglers::report(std::span<const double> seconds) {
  std::vector<Straggler> found;
  const auto peers = static_cast<size_t>(grid_.dp) * static_cast<size_t>(grid_.tp);
  for (size_t first = 0; first < seconds.size(); first += peers) {
    const std::span<const double> stage = seconds.subspan(first, peers);
    std::vector<double> sorted(stage.begin(), stage.end());
    std::ranges::sort(sorted);
    const double median = sorted[(sorted.size() - 1) / 2];  // of two, the faster one
    for (size_t i = 0; i < peers; ++i) {
      const int rank = static_cast<int>(first + i);
      int& slow = slow_[rank];
      slow = stage[i] > kFactor * median ? slow + 1 : 0;
      if (slow == kReports) found.push_back({rank, stage[i], median});
    }
  }
  return found;
}

}  // namespace cria
