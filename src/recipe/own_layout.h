// How a run's own ranks hold the model, by its settings: their grid, and their layout in the words of strategy files.
#pragma once

#include "checkpoint/strategy.h"
#include "comm/groups.h"
#include "recipe/settings.h"

namespace cria::recipe {

/// The place of a rank, by the settings alone.
RankGrid grid_at(const ParallelSettings& parallel, int rank);
/// This rank's place. Throws UsageError unless the settings divide over as many ranks as there are.
RankGrid grid_of_run(const RecipeSettings& settings, const Transport& transport);
/// How a rank's state is cut over data-parallel ranks.
OptimizerShard shard_of_run(const ParallelSettings& parallel, const RankGrid& grid);

/// The strategy file that rank `rank` of the run has. For several ranks.
StrategyFile strategy_of_rank(const RecipeSettings& settings, const LlamaConfig& config, int rank);
/// Those of all pipeline stages in one.
StrategyFile merged_strategy_of_run(const RecipeSettings& settings, const LlamaConfig& config);
/// The same as a layout; full for one rank.
Strategy strategy_of_run(const RecipeSettings& settings, const LlamaConfig& config);

}  // namespace cria::recipe
