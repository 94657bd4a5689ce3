// The optimizer over the whole parameter table: state, clipping and the step.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/exact_sum.h"
#include "comm/rank_grid.h"
#include "model/params.h"
#include "ops/exec.h"

namespace cria {

struct OptimizerSettings {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  bool bias_correction = true;  // AdamW; false: FP32StateAdamWeightDecay
  bool decay_1d = false;        // decay norms too
  double max_grad_norm = 1.0;   // 0: no clipping
  /// Keep the exact f32 value of 16-bit weights. false is the recipe's own rule: updates below half an ulp vanish.
  bool master_weights = true;
};
/// Sets bias_correction: "AdamW" true; "FP32StateAdamWeightDecay", "AdamWeightDecay", "FusedAdamWeightDecay",
/// "fp32_adamw" false. Throws UsageError with the nearest known name.
void parse_optimizer(std::string_view name, OptimizerSettings& settings);

/// What one rank has of weights in their storage dtype, what restores their f32 value, and both moments, as far as `shard` cuts
/// them over data-parallel ranks.
struct TrainState {
  TrainState(const LlamaConfig& config, DType storage, bool master_weights)
      : TrainState(config, storage, master_weights, whole_model(config), {}) {}
  /// `memory`: a device's, which outlives the state; null: the host's.
  TrainState(const LlamaConfig& config, DType storage, bool master_weights, const ModelPart& part,
             const OptimizerShard& shard, Memory* memory = nullptr);
  /// After the weights were filled: makes master copies equal to them, moments zero.
  void start(ops::Exec& exec);

  OptimizerShard shard;
  ParamArena weights;
  std::optional<ParamArena> low;     // bf16 weights: the low 16 bits of the master
  std::optional<ParamArena> master;  // f16 weights: f32 masters
  ParamArena m, v;
  int64_t step = 0;  // updates done
  [[nodiscard]] size_t size_bytes() const;
  /// The rows of parameter i that the rank's optimizer state is for, of an arena that is cut less or alike.
  template <class Arena>
  [[nodiscard]] auto rows_of_state(Arena& arena, int64_t i) const {
    const Param& all = arena.params()[static_cast<size_t>(i)];
    const Param& mine = m.params()[static_cast<size_t>(i)];
    return arena[i].row_range(mine.first_row() - all.first_row(), mine.rows());
  }
};

/// Squares of the gradients that this rank speaks for: every element of the model is one rank's, so that the sum over all
/// ranks is the model's.
void add_squared_gradients(const TrainState& state, const ParamArena& grads, const RankGrid& grid,
                           ExactSum& sum, ops::Exec& exec);

/// One update with learning rate `lr`; gradients are divided by the loss scale and clipped to max_grad_norm
/// (factor min(1, max / (norm + 1e-6))). Advances state.step. With a shard, weights outside it are not touched.
void optimizer_step(TrainState& state, const ParamArena& grads, const OptimizerSettings& settings,
                    double lr, double norm, double loss_scale, ops::Exec& exec);

}  // namespace cria
