// A training run as far as its memory and its messages go, and one rank's share of it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/rank_grid.h"
#include "model/activations.h"
#include "model/llama.h"
#include "model/params.h"
#include "train/pipeline.h"

namespace cria {

struct TrainingRun {
  LlamaConfig config;
  DType storage = DType::bf16, compute = DType::bf16;
  bool master_weights = true;  // keep the exact f32 value of 16-bit weights
  int64_t seq_length = 1;
  int64_t batch_size = 1;      // samples of a micro batch
  int64_t micro_batches = 1;   // of one data-parallel rank in a step
  int64_t trained_tokens = 0;  // of a micro batch; 0: all of them
  RankGrid grid;               // its sizes and groups; the rank is given apart
  /// Layers of each stage, for any number of stages; empty: the recipe's rule without an offset.
  std::function<StageRuns(int stages)> split;
  bool sequence_parallel = false, vocab_split = false;
  bool stages_split_vocab = false;  // as in the recipe: wherever there are several
  bool optimizer_shard = false;
  int zero = 1;  // what is sharded then: OptimizerShard::zero
  int64_t shard_threshold_bytes = 64 << 10;
  /// What each layer recomputes, in this division into stages (empty: one stage); empty: nothing.
  std::function<RecomputePolicy(const StageRuns& runs)> recompute;
  int threads = 1;         // of a rank
  bool evaluates = false;  // perplexity during training

  [[nodiscard]] int ranks() const { return grid.size(); }
  [[nodiscard]] int64_t tokens() const { return batch_size * seq_length; }  // of a micro batch
  [[nodiscard]] int64_t global_batch() const { return batch_size * micro_batches * grid.dp; }
};

/// What one rank holds and computes of a run.
struct RankShare {
  /// Throws UsageError where the rules forbid the layout: heads that do not divide, stages without a layer.
  RankShare(const TrainingRun& run, int rank);

  RankGrid grid;
  PipelineSettings pipeline;
  ModelPart part;
  OptimizerShard shard;
  RecomputePolicy recompute;
  LlamaConfig local;           // local_config() of the part
  std::vector<LayerRun> runs;  // of its stage
  // Parameters of its part: whole; and as far as data-parallel ranks keep their own rows of each.
  std::vector<Param> held, weights, gradients, state;
  Extent extent;  // of a micro batch

  [[nodiscard]] int64_t layer_elements() const;     // of one decoder layer, whole
  [[nodiscard]] bool layer_weights_cut() const;     // ZeRO-3
  [[nodiscard]] bool layer_gradients_cut() const {  // ZeRO-2 and ZeRO-3
    return shard.count > 1 && shard.zero >= 2;
  }
};

}  // namespace cria
