// Which rank does what: rank = stage * (dp * tp) + dp_index * tp + tp_index, the recipe's order (tp fastest, then dp, then pp).
#pragma once

#include <string>
#include <vector>

namespace cria {

struct RankGrid {
  int dp = 1, tp = 1, pp = 1;
  int rank = 0;

  [[nodiscard]] int size() const { return dp * tp * pp; }
  [[nodiscard]] int tp_index() const { return rank % tp; }
  [[nodiscard]] int dp_index() const { return rank / tp % dp; }
  [[nodiscard]] int stage() const { return rank / (tp * dp); }
  [[nodiscard]] bool first_stage() const { return stage() == 0; }
  [[nodiscard]] bool last_stage() const { return stage() == pp - 1; }
  /// Ranks that differ from this one in one index only, ascending.
  [[nodiscard]] std::vector<int> tp_ranks() const;
  [[nodiscard]] std::vector<int> dp_ranks() const;
  [[nodiscard]] std::vector<int> pp_ranks() const;
  [[nodiscard]] std::vector<int> all_ranks() const;
};

/// Throws UsageError unless dp, tp, pp are at least 1 and their product is `ranks`.
RankGrid make_grid(int dp, int tp, int pp, int ranks, int rank);

}  // namespace cria
