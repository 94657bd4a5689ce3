// The rank's part of one training step: all micro batches through its stages, forward and backward, with what goes to and comes
// from the ranks before and after. One rank alone is a pipeline of one stage.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "comm/groups.h"
#include "model/stage.h"
#include "train/layer_split.h"
#include "train/pipeline_schedule.h"
#include "train/samples.h"

namespace cria {

/// How a model is divided over the ranks of a grid.
struct PipelineSettings {
  StageRuns runs;  // of all stages; empty: one stage with everything
  bool sequence_parallel = false;
  bool vocab_split = false;
};

/// What a rank at this place of the grid holds.
ModelPart part_of(const LlamaConfig& config, const RankGrid& grid,
                  const PipelineSettings& settings);

class Pipeline {
 public:
  /// `weights` is the arena of part_of(); it, the groups and exec outlive the object.
  Pipeline(const ParamArena& weights, const PipelineSettings& settings, DType compute,
           const RecomputePolicy& recompute, Groups& groups, const ops::Exec& exec);
  ~Pipeline();

  /// Losses of a micro batch's tokens, 0 where untrained; called on ranks with the head, in any order of micro batches.
  using Losses = std::function<void(int64_t micro, std::span<const float> token_loss)>;

  /// Gradients of the sum over micro batches m of scales[m] * its losses: complete gradients, added in the micro batches' order. Each rank has
  /// those of its part; with sequence parallelism those of norms are the rank's rows' only.
  void train(std::span<const Samples> micros, std::span<const float> scales,
             const StageGradients& grads, const Losses& losses);
  /// Losses alone.
  void evaluate(std::span<const Samples> micros, const Losses& losses);

  [[nodiscard]] size_t activation_bytes() const;
  /// Whether every forward is one of the whole data-parallel group (LayerWeights).
  [[nodiscard]] bool together() const { return layers_.cut(); }

 private:
  struct UnderWay;
  struct Chunk;
  void forward(Chunk& chunk, int64_t micro, const Samples& samples, Keep keep);
  void backward(Chunk& chunk, int64_t micro, const Samples& samples, float scale,
                const StageGradients& grads, const Losses& losses);
  size_t free_slot(Chunk& chunk) const;

  Groups& groups_;
  ops::Exec exec_;
  RopeCache rope_;
  LayerWeights layers_;
  Workspace workspace_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<float> token_loss_;
};

}  // namespace cria
