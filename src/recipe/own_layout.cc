#include "recipe/own_layout.h"

#include "checkpoint/part_strategy.h"

namespace cria::recipe {

RankGrid grid_at(const ParallelSettings& p, int rank) {
  return {.dp = static_cast<int>(p.dp),
          .tp = static_cast<int>(p.tp),
          .pp = static_cast<int>(p.pp),
          .rank = rank,
          .shard = static_cast<int>(p.shard_size)};
}

RankGrid grid_of_run(const RecipeSettings& s, const Transport& transport) {
  const RankGrid grid = grid_at(s.parallel, transport.rank());
  return make_grid(grid.dp, grid.tp, grid.pp, transport.size(), grid.rank, grid.shard);
}

OptimizerShard shard_of_run(const ParallelSettings& p, const RankGrid& grid) {
  return {.count = p.optimizer_shard ? grid.shard_size() : 1,
          .index = p.optimizer_shard ? grid.shard_index() : 0,
          .threshold_bytes = p.shard_threshold,
          .zero = p.zero};
}

StrategyFile strategy_of_rank(const RecipeSettings& s, const LlamaConfig& config, int rank) {
  const ParallelSettings& p = s.parallel;
  const RankGrid grid = grid_at(p, rank);
  const ModelPart part = part_of(config, grid, pipeline_settings(p, config, s.model.seq_length));
  return part_strategy(config, part, shard_of_run(p, grid), grid);
}

StrategyFile merged_strategy_of_run(const RecipeSettings& s, const LlamaConfig& config) {
  std::vector<std::pair<std::string, StrategyFile>> stages;
  for (int64_t stage = 0; stage < s.parallel.pp; ++stage) {
    const auto rank = static_cast<int>(stage * s.parallel.dp * s.parallel.tp);
    stages.emplace_back("this run's layout", strategy_of_rank(s, config, rank));
  }
  return merge_strategies(stages);
}

Strategy strategy_of_run(const RecipeSettings& s, const LlamaConfig& config) {
  if (grid_at(s.parallel, 0).size() == 1) return {};
  return strategy_of(merged_strategy_of_run(s, config), "this run's layout");
}

}  // namespace cria::recipe
