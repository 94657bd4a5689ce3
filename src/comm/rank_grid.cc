#include "comm/rank_grid.h"

#include <cstdint>

#include "base/error.h"

namespace cria {
namespace {

std::vector<int> run(int first, int step, int count) {
  std::vector<int> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(first + i * step);
  return ranks;
}

}  // namespace

std::vector<int> RankGrid::tp_ranks() const { return run(rank - tp_index(), 1, tp); }
std::vector<int> RankGrid::dp_ranks() const { return run(rank - dp_index() * tp, tp, dp); }
std::vector<int> RankGrid::pp_ranks() const { return run(rank % (tp * dp), tp * dp, pp); }
std::vector<int> RankGrid::all_ranks() const { return run(0, 1, size()); }

RankGrid make_grid(int dp, int tp, int pp, int ranks, int rank) {
  require(dp >= 1 && tp >= 1 && pp >= 1,
          "parallel sizes are dp {}, tp {}, pp {}, expected each to be at least 1", dp, tp, pp);
  // Divisions, since a product of three ints from a config may overflow.
  require(ranks / dp / tp / pp == 1 && int64_t{dp} * tp <= ranks && int64_t{dp} * tp * pp == ranks,
          "dp {} x tp {} x pp {} do not make the {} ranks of this run", dp, tp, pp, ranks);
  check(rank >= 0 && rank < ranks, "the rank lies in the run");
  return {dp, tp, pp, rank};
}

}  // namespace cria
