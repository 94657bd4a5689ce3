// The recipe's auto_trans_ckpt: the checkpoint written anew for the run's own layout before it is loaded.
#pragma once

#include <optional>

#include "checkpoint/weight_source.h"
#include "comm/groups.h"
#include "recipe/log.h"
#include "recipe/settings.h"

namespace cria::recipe {

/// Called by every rank where auto_trans_ckpt is set. Below the output folder it writes
///
///     strategy/ckpt_strategy_rank_<r>.ckpt                            of several ranks; merged_ckpt_strategy.ckpt with stages
///     transformed_checkpoint/<name>/rank_<r>/checkpoint_<r>.ckpt      <name>: that of load_checkpoint
///     transformed_checkpoint/<name>/transform_succeed_rank_<r>.txt    by each rank that shared the work
///
/// and puts the result in the place of `weights`. What stands at these places from another run is moved aside to `<folder>_1`,
/// `_2`, ...; nothing is deleted. Weights that are no .ckpt files need none of this and stay. Throws on all ranks when one
/// fails: as transform_checkpoint, and UsageError when load_checkpoint lies where the result would go.
void use_transformed(const RecipeSettings& settings, const LlamaConfig& config, Groups& groups,
                     RecipeLog& log, std::optional<WeightSource>& weights);

}  // namespace cria::recipe
