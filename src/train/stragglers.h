// Ranks that keep the others waiting.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "comm/groups.h"

namespace cria {

/// A rank that takes longer than others with the same work, over several reports in a row.
struct Straggler {
  int rank;
  double seconds,
      median;  // of a step, without waiting for others: its own, and that of its stage's ranks
};

/// Compares ranks' times every so many steps. Only ranks of the same pipeline stage are compared: others have other work.
class Stragglers {
 public:
  static constexpr double kFactor = 1.3;  // times the median
  static constexpr int kReports = 3;      // in a row

  /// `every`: steps between reports; 0: never.
  Stragglers(const RankGrid& grid, int64_t every) : grid_(grid), every_(every) {}
  /// After each step, by all ranks: the seconds this rank was busy in it. Says the same on all of them, and of each straggler once.
  std::vector<Straggler> step(double busy, Comm& world);
  /// What one report says; `seconds` of every rank of the grid, for one step. Called by step().
  std::vector<Straggler> report(std::span<const double> seconds);

 private:
  RankGrid grid_;
  int64_t every_, steps_ = 0;
  double busy_ = 0;
  std::map<int, int> slow_;  // reports in a row, by rank
};

}  // namespace cria
