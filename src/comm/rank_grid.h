// Which rank does what: rank = stage * (dp * tp) + dp_index * tp + tp_index, the recipe's order (tp fastest, then dp, then pp).
#pragma once

#include <string>
#include <vector>

namespace cria {

struct RankGrid {
  int dp = 1, tp = 1, pp = 1;
  int rank = 0;
  /// State that data-parallel ranks cut among themselves is cut over groups of so many of them, neighbours by dp_index(), and every
  /// group has a copy of it. Divides dp; 0: all are one group.
  int shard = 0;

  [[nodiscard]] int size() const { return dp * tp * pp; }
  [[nodiscard]] int tp_index() const { return rank % tp; }
  [[nodiscard]] int dp_index() const { return rank / tp % dp; }
  [[nodiscard]] int stage() const { return rank / (tp * dp); }
  [[nodiscard]] int shard_size() const { return shard == 0 ? dp : shard; }
  /// Which part of the state is this rank's, and which of its copies.
  [[nodiscard]] int shard_index() const { return dp_index() % shard_size(); }
  [[nodiscard]] int copy_index() const { return dp_index() / shard_size(); }
  [[nodiscard]] int copies() const { return dp / shard_size(); }
  /// Where the rows stand that this rank sums when all of dp share the work: every part of the state is one run of them.
  [[nodiscard]] int dp_block() const { return shard_index() * copies() + copy_index(); }
  [[nodiscard]] bool first_stage() const { return stage() == 0; }
  [[nodiscard]] bool last_stage() const { return stage() == pp - 1; }
  /// Ranks that differ from this one in one index only, ascending.
  [[nodiscard]] std::vector<int> tp_ranks() const;
  [[nodiscard]] std::vector<int> dp_ranks() const;
  [[nodiscard]] std::vector<int> pp_ranks() const;
  /// Of the data-parallel ranks: those that have the other parts of the same copy, and those that have copies of the same part.
  [[nodiscard]] std::vector<int> shard_ranks() const;
  [[nodiscard]] std::vector<int> copy_ranks() const;
  /// dp_block() of each of dp_ranks().
  [[nodiscard]] std::vector<int> dp_blocks() const;
  [[nodiscard]] std::vector<int> all_ranks() const;
};

/// Throws UsageError unless dp, tp, pp are at least 1 and their product is `ranks`, and shard is 0 or divides dp.
RankGrid make_grid(int dp, int tp, int pp, int ranks, int rank, int shard = 0);

}  // namespace cria
