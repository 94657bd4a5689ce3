// Perplexity, counted two ways.
#pragma once

#include <cstdint>
#include <functional>

#include "model/llama.h"
#include "train/pipeline.h"
#include "train/samples.h"

namespace cria {

struct Evaluation {
  int64_t batches = 0, samples = 0, tokens = 0;  // tokens with a target
  /// The recipe's PerplexityMetric: the mean over batches of each batch's mean, sum / (count + 1e-8).
  double recipe_loss = 0, recipe_perplexity = 1;
  /// Every token counts the same.
  double loss = 0, perplexity = 1;
};

/// One pass over the source, `batch_size` samples at a time, the last batch may be smaller. `progress` is called with samples done.
Evaluation evaluate(const LlamaConfig& config, const ParamArena& weights, DType compute,
                    SampleSource& source, int64_t batch_size, ops::Exec& exec,
                    const std::function<void(int64_t)>& progress = {});
/// The same by all ranks of a run: batches are dealt out to the data-parallel ones. `weights` are of
/// part_of(config, groups.grid, pipeline). Every rank returns the same.
Evaluation evaluate(const ParamArena& weights, const PipelineSettings& pipeline, DType compute,
                    SampleSource& source, int64_t batch_size, Groups& groups, ops::Exec& exec,
                    const std::function<void(int64_t)>& progress = {});

}  // namespace cria
