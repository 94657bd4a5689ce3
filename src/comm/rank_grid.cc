#include "comm/rank_grid.h"

#include "base/error.h"

namespace cria {
namespace {

std::vector<int> every(int first, int step, int count) {
  std::vector<int> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(first + i * step);
  return ranks;
}

}  // namespace

std::vector<int> RankGrid::tp_ranks() const { return every(rank - tp_index(), 1, tp); }
std::vector<int> RankGrid::dp_ranks() const { return every(rank - dp_index() * tp, tp, dp); }
std::vector<int> RankGrid::pp_ranks() const { return every(rank % (dp * tp), dp * tp, pp); }
std::vector<int> RankGrid::all_ranks() const { return every(0, 1, size()); }

RankGrid make_grid(int dp, int tp, int pp, int ranks, int rank) {
  require(
      dp >= 1 && tp >= 1 && pp >= 1 && int64_t{dp} * tp * pp == ranks,
      "layout: data_parallel {} x model_parallel {} x pipeline_stage {} needs {} ranks, found {}",
      dp, tp, pp, int64_t{dp} * tp * pp, ranks);
  require(rank >= 0 && rank < ranks, "layout: rank {} of {}", rank, ranks);
  return {dp, tp, pp, rank};
}

}  // namespace cria
