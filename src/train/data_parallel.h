// What data-parallel ranks do with gradients and weights around an update.
#pragma once

#include "comm/groups.h"
#include "model/params.h"
#include "ops/exec.h"
#include "train/optimizer.h"

namespace cria {

/// After backward: makes the gradients those of the whole step, on every rank for the rows that its optimizer state is for.
/// In this order: rows of norms over the ranks of a sequence-parallel group; sums over dp in the order of its ranks (sharded
/// parameters: only a rank's rows); the two parts of a tied table. `entrance` is StageGradients::entrance. Parameters that
/// `summed` names have their sums over dp already (GradientSums).
void combine_gradients(const TrainState& state, ParamArena& grads, View entrance,
                       bool sequence_parallel, Groups& groups, ops::Exec& exec,
                       const std::vector<bool>& summed = {});

/// After an update: every dp rank gets the others' rows of weights that it holds whole, from those of its own copy (Groups::shard).
void gather_weights(TrainState& state, Groups& groups);

}  // namespace cria
