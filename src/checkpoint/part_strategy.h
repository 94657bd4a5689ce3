// What a rank holds, in the recipe's words: names of its parameters, and the strategy file by which transform_ckpt and
// MindSpore join the ranks' .ckpt files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/rank_grid.h"
#include "formats/strategy_file.h"
#include "model/params.h"

namespace cria {

/// A parameter of a rank's list and the name that MindFormers has for it.
struct RecipeParam {
  std::string name;
  int64_t index = 0;
};
/// All that the rank's .ckpt file holds, in its order. MindFormers has no tied models: the rank with the head of one has the
/// table as lm_head.weight, last, and once more as the table only where that is at home.
std::vector<RecipeParam> recipe_params(const ParamArena& arena);

/// The layout of every weight and both its moments (`adam_m.`, `adam_v.`) on the ranks of this pipeline stage, as
/// docs/formats/strategy.md has it. `state` is an arena of the rank's optimizer state, whose boxes are cut as the files are.
StrategyFile part_strategy(const ParamArena& state, const RankGrid& grid);
/// The same for a rank of which nothing is in memory.
StrategyFile part_strategy(const LlamaConfig& config, const ModelPart& part,
                           const OptimizerShard& shard, const RankGrid& grid);

}  // namespace cria
