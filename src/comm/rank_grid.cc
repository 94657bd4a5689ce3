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
std::vector<int> RankGrid::shard_ranks() const {
  return every(rank - shard_index() * tp, tp, shard_size());
}
std::vector<int> RankGrid::copy_ranks() const {
  return every(rank - copy_index() * shard_size() * tp, shard_size() * tp, copies());
}
std::vector<int> RankGrid::dp_blocks() const {
  std::vector<int> blocks;
  for (const int r : dp_ranks()) {
    RankGrid other = *this;
    other.rank = r;
    blocks.push_back(other.dp_block());
  }
  return blocks;
}
std::vector<int> RankGrid::all_ranks() const { return every(0, 1, size()); }

RankGrid make_grid(int dp, int tp, int pp, int ranks, int rank, int shard) {
  require(
      dp >= 1 && tp >= 1 && pp >= 1 && int64_t{dp} * tp * pp == ranks,
      "layout: data_parallel {} x model_parallel {} x pipeline_stage {} needs {} ranks, found {}",
      dp, tp, pp, int64_t{dp} * tp * pp, ranks);
  require(rank >= 0 && rank < ranks, "layout: rank {} of {}", rank, ranks);
  require(shard == 0 || (shard >= 1 && dp % shard == 0),
          "layout: groups of {} data-parallel ranks, expected a divisor of data_parallel {}", shard,
          dp);
  return {dp, tp, pp, rank, shard};
}

}  // namespace cria
