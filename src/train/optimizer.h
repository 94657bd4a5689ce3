// The optimizer over the whole parameter table: state, clipping and the step.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

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

/// Weights in their storage dtype, what restores their f32 value, and both moments.
struct TrainState {
  TrainState(const LlamaConfig& config, DType storage, bool master_weights);
  /// After the weights were filled: makes master copies equal to them, moments zero.
  void start(ops::Exec& exec);

  ParamArena weights;
  std::optional<ParamArena> low;     // bf16 weights: the low 16 bits of the master
  std::optional<ParamArena> master;  // f16 weights: f32 masters
  ParamArena m, v;
  int64_t step = 0;  // updates done
  [[nodiscard]] size_t size_bytes() const;
};

/// sqrt of the sum of squares over all gradients, divided by the loss scale; parameters in the table's order.
double gradient_norm(const ParamArena& grads, double loss_scale, ops::Exec& exec);

/// One update with learning rate `lr`; gradients are divided by the loss scale and clipped to max_grad_norm
/// (factor min(1, max / (norm + 1e-6))). Advances state.step.
void optimizer_step(TrainState& state, const ParamArena& grads, const OptimizerSettings& settings,
                    double lr, double norm, double loss_scale, ops::Exec& exec);

}  // namespace cria
