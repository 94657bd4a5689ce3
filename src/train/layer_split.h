// Which decoder layers each pipeline stage computes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/stage.h"

namespace cria {

/// runs[stage][chunk]: the runs of layers of a stage, in the model's order. Stage s computes chunk c as the model's run number
/// c * stages + s; one chunk unless the schedule is interleaved.
using StageRuns = std::vector<std::vector<LayerRun>>;

/// The recipe's rule for an offset that is one number: per = max((layers + 1) / stages, 1), layer l goes to stage
/// min((l + offset) / per, stages - 1). Throws UsageError when a stage would have no layer.
StageRuns split_by_offset(int64_t layers, int stages, int64_t offset);
/// An offset for each stage: stage i has layers / stages + offset[i] layers. Throws UsageError unless they add up to all.
StageRuns split_by_offsets(int64_t layers, int stages, std::span<const int64_t> offsets);
/// Stages of about equal cost: the head weighs `head_cost` layers (a layer is 1). No stage is empty.
StageRuns split_by_cost(int64_t layers, int stages, double head_cost);
/// `chunks` runs for each stage, all of the same length. Throws UsageError when layers do not divide by stages * chunks.
StageRuns split_interleaved(int64_t layers, int stages, int chunks);

/// What the head costs beside one decoder layer, by multiply-adds of a token: for split_by_cost.
double head_cost_in_layers(const LlamaConfig& config, int64_t seq_len);

}  // namespace cria
