// What one rank holds of a model: some of its layers (pipeline), a slice of each matrix (tensor parallelism).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace cria {

struct ModelPart {
  std::vector<int64_t> layers;  // decoder layers held, ascending
  bool embedding = true;        // holds the table at the model's entrance
  bool head = true;             // holds the final norm and the head
  int tp = 1, tp_index = 0;     // slice of every split matrix
  bool vocab_split = false;  // the table and the head are split by rows; else whole on every rank

  bool operator==(const ModelPart&) const = default;
};

/// Layers [first, first + count) of the model.
struct LayerRun {
  int64_t first = 0, count = 0;
  bool embedding = true, head = true;
};

ModelPart whole_model(const LlamaConfig& config);

/// The part's layers as runs of consecutive ones, ascending; more than one in an interleaved pipeline, where layers of other ranks
/// lie between them.
std::vector<LayerRun> runs_of(const ModelPart& part);

/// Throws UsageError unless heads, KV heads and intermediate size divide by part.tp (and the vocabulary, where it is split).
void check_split(const LlamaConfig& config, const ModelPart& part);

/// The shape of a layer as this part computes it: heads, KV heads and intermediate size divided by tp; as many layers as it has.
/// vocab_size is that of the part's slice.
LlamaConfig local_config(const LlamaConfig& config, const ModelPart& part);

/// How optimizer state is cut over data-parallel ranks, by the recipe's rules: a matrix of more than `threshold_bytes` whose rows
/// divide by `count` is cut into `count` blocks of rows; tables and norms never are. With fewer blocks than ranks several ranks
/// hold copies of one (RankGrid::shard).
struct OptimizerShard {
  int count = 1, index = 0;
  int64_t threshold_bytes = 64 << 10;  // compared with the f32 size of what the rank holds
  /// What is cut (the stages of ZeRO): 1 moments and masters, 2 the layers' gradients too, 3 the layers' weights too.
  int zero = 1;
  bool layers_only = false;  // cut decoder layers' matrices alone, the head not

  /// The cut of an arena of gradients, and of weights.
  [[nodiscard]] OptimizerShard of_gradients() const { return of_layers(zero >= 2); }
  [[nodiscard]] OptimizerShard of_weights() const { return of_layers(zero >= 3); }

 private:
  [[nodiscard]] OptimizerShard of_layers(bool cut) const {
    OptimizerShard shard = cut ? *this : OptimizerShard{};
    shard.layers_only = true;
    return shard;
  }
};

}  // namespace cria
