#include "plan/training_run.h"

#include <algorithm>

#include "base/error.h"

namespace cria {
namespace {

PipelineSettings pipeline_of(const TrainingRun& run) {
  const int stages = run.grid.pp;
  const bool splits = run.vocab_split || (run.stages_split_vocab && stages > 1);
  PipelineSettings p{.runs = {},
                     .sequence_parallel = run.sequence_parallel && run.grid.tp > 1,
                     .vocab_split = splits && run.config.vocab_size % run.grid.tp == 0};
  if (stages == 1) return p;
  require(run.micro_batches >= stages,
          "plan: {} micro batches for {} stages; try: a larger micro_batch_num", run.micro_batches,
          stages);
  p.runs = run.split ? run.split(stages) : split_by_offset(run.config.num_hidden_layers, stages, 0);
  return p;
}

RankGrid grid_of(const TrainingRun& run, int rank) {
  RankGrid grid = run.grid;
  grid.rank = rank;
  return grid;
}

OptimizerShard shard_of(const TrainingRun& run, const RankGrid& grid) {
  if (!run.optimizer_shard) return {};
  return {.count = grid.shard_size(),
          .index = grid.shard_index(),
          .threshold_bytes = run.shard_threshold_bytes,
          .zero = run.zero};
}

/// As TensorParallel::stream_rows() cuts them.
Extent extent_of(const TrainingRun& run, const RankGrid& grid, bool sequence) {
  const int64_t tokens = run.tokens();
  if (!sequence) return {tokens, tokens};
  require(tokens >= grid.tp, "plan: sequence parallelism over {} ranks needs as many tokens",
          grid.tp);
  const int64_t first = tokens * grid.tp_index() / grid.tp;
  return {tokens, tokens * (grid.tp_index() + 1) / grid.tp - first};
}

}  // namespace

RankShare::RankShare(const TrainingRun& run, int rank)
    : grid(grid_of(run, rank)),
      pipeline(pipeline_of(run)),
      part(part_of(run.config, grid, pipeline)),
      shard(shard_of(run, grid)),
      recompute(run.recompute ? run.recompute(pipeline.runs) : RecomputePolicy()),
      local(local_config(run.config, part)),
      held(part_params(run.config, part)),
      weights(part_params(run.config, part, shard.of_weights())),
      gradients(part_params(run.config, part, shard.of_gradients())),
      state(part_params(run.config, part, shard)),
      extent(extent_of(run, grid, pipeline.sequence_parallel)) {
  runs = {{.first = 0, .count = run.config.num_hidden_layers}};
  if (!pipeline.runs.empty()) runs = pipeline.runs[static_cast<size_t>(grid.stage())];
  if (runs.size() > 1)  // throws where the interleaved schedule does not fit
    schedule_interleaved(grid.pp, grid.stage(), static_cast<int>(runs.size()), run.micro_batches);
}

int64_t RankShare::layer_elements() const {
  int64_t elements = 0;
  for (const Param& p : held) elements += p.layer == part.layers.front() ? p.elements() : 0;
  return elements;
}

bool RankShare::layer_weights_cut() const {
  return std::ranges::any_of(weights, [](const Param& p) { return p.layer >= 0 && p.sharded; });
}

}  // namespace cria
