// In which order a pipeline stage does its work. Results do not depend on it: gradients are added in the order of the micro
// batches in every schedule.
#pragma once

#include <cstdint>
#include <vector>

namespace cria {

/// Forward or backward of one micro batch through one of the stage's runs of layers.
struct PipelineStep {
  bool backward = false;
  int chunk = 0;
  int64_t micro = 0;
  bool operator==(const PipelineStep&) const = default;
};

/// One forward, one backward (1F1B): after a warm-up of stages - stage - 1 forwards, no more than stages - stage micro batches are
/// under way. One stage: each micro batch forward and backward in turn.
std::vector<PipelineStep> schedule_1f1b(int stages, int stage, int64_t micros);
/// The same over `chunks` runs for each stage, micro batches in groups of `stages`: a smaller bubble for more messages.
/// Throws UsageError unless micros divides by stages.
std::vector<PipelineStep> schedule_interleaved(int stages, int stage, int chunks, int64_t micros);
}  // namespace cria
