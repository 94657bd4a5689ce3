// Memory of one micro batch: what layers keep for backward, and what they share. Blocks grow to the biggest batch seen and
// are reused; a smaller batch uses the front of each.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "model/decoder_layer.h"
#include "tensor/tensor.h"

namespace cria {

/// How much of the layers' activations outlives the layer's forward.
enum class Keep {
  nothing,  // every layer overwrites the one before: no backward
  inputs,   // each layer's input; backward makes the rest again
  all,      // everything backward reads
};

class Activations {
 public:
  Activations(const LlamaConfig& config, DType compute) : config_(config), compute_(compute) {}

  /// Room for `tokens`. Contents are lost. Allocates only when this needs more than any call before.
  void prepare(int64_t tokens, Keep keep);

  // Windows for the tokens of the last prepare().
  [[nodiscard]] LayerActivations layer(int64_t index);
  /// The residual stream after layer `index`: the next one's input.
  [[nodiscard]] View output(int64_t index) { return input(index + 1); }
  [[nodiscard]] View input(int64_t index);
  [[nodiscard]] LayerWorkspace& workspace() { return workspace_; }
  /// Of the final norm, [1, tokens].
  [[nodiscard]] View final_rstd() { return {final_rstd_.view().data, DType::f32, 1, tokens_}; }
  /// The gradient of the residual stream, [tokens, hidden].
  [[nodiscard]] View dx() { return cut(dx_); }
  [[nodiscard]] size_t size_bytes() const;

 private:
  struct Kept {
    Tensor qkv, attended, middle, gate_up;  // in the compute dtype
    Tensor lse, rstd;                       // f32; rstd holds both norms'
  };
  void prepare_backward();
  void ensure(Tensor& block, DType dtype, int64_t cols) const;
  [[nodiscard]] View cut(Tensor& block) const { return block.view().row_range(0, tokens_); }
  [[nodiscard]] int64_t qkv_width() const {
    return (config_.num_attention_heads + 2 * config_.num_key_value_heads) * config_.head_dim;
  }
  [[nodiscard]] int64_t attended_width() const {
    return config_.num_attention_heads * config_.head_dim;
  }

  LlamaConfig config_;
  DType compute_;
  Keep keep_ = Keep::nothing;
  int64_t tokens_ = 0;
  std::vector<Tensor> inputs_;  // one, or one for each layer and the output of the last
  std::vector<Kept> kept_;      // one that layers share, or one for each
  Tensor normed_, hidden_, final_rstd_;
  Tensor d_normed_, d_hidden_, d_attended_, d_qkv_, dx_;
  LayerWorkspace workspace_;
};

}  // namespace cria
