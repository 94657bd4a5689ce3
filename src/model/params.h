// The one list of parameters. Allocation, gradients, optimizer state, counting, checkpoints, name dialects and resharding
// are loops over it; no second list exists.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "tensor/tensor.h"

namespace cria {

struct Param {
  std::string name;            // Hugging Face's
  std::vector<int64_t> shape;  // [out, in], or [n] for norms
  int tp_dim = -1;             // the dim tensor parallelism splits; -1: replicated
  bool decay = true;           // weight decay applies (matrices); norms are not decayed
  double init_std = 0.01;      // normal(0, init_std) without weights; norms start at one
  int layer = -1;              // decoder layer, or -1 for embedding, final norm and head

  [[nodiscard]] bool is_norm() const { return shape.size() == 1; }
  [[nodiscard]] int64_t rows() const { return shape.size() == 1 ? 1 : shape[0]; }
  [[nodiscard]] int64_t cols() const { return shape.back(); }
  [[nodiscard]] int64_t elements() const { return rows() * cols(); }
};

/// Hugging Face's state_dict order: embedding; per layer q, k, v, o, gate, up, down, input norm, post norm; norm; lm_head
/// (which a tied model has not).
std::vector<Param> llama_params(const LlamaConfig& config);
int64_t count_parameters(const LlamaConfig& config);

/// Positions in the list, so that nobody searches by name.
struct ParamIndex {
  explicit ParamIndex(const LlamaConfig& config)
      : layers(config.num_hidden_layers), tied(config.tie_word_embeddings) {}
  int64_t layers;
  bool tied;
  static constexpr int64_t kPerLayer = 9;
  [[nodiscard]] int64_t embed_tokens() const { return 0; }
  [[nodiscard]] int64_t layer(int64_t i) const { return 1 + i * kPerLayer; }
  [[nodiscard]] int64_t q_proj(int64_t i) const { return layer(i) + 0; }
  [[nodiscard]] int64_t k_proj(int64_t i) const { return layer(i) + 1; }
  [[nodiscard]] int64_t v_proj(int64_t i) const { return layer(i) + 2; }
  [[nodiscard]] int64_t o_proj(int64_t i) const { return layer(i) + 3; }
  [[nodiscard]] int64_t gate_proj(int64_t i) const { return layer(i) + 4; }
  [[nodiscard]] int64_t up_proj(int64_t i) const { return layer(i) + 5; }
  [[nodiscard]] int64_t down_proj(int64_t i) const { return layer(i) + 6; }
  [[nodiscard]] int64_t input_layernorm(int64_t i) const { return layer(i) + 7; }
  [[nodiscard]] int64_t post_attention_layernorm(int64_t i) const { return layer(i) + 8; }
  [[nodiscard]] int64_t norm() const { return layer(layers); }
  /// The head's weight: its own, or the embedding of a tied model.
  [[nodiscard]] int64_t lm_head() const { return tied ? embed_tokens() : norm() + 1; }
};

/// One value per parameter element in one block of memory, in the table's order without gaps: weights, gradients or moments.
/// q, k, v lie side by side, and gate and up, so the fused matrices are plain windows.
class ParamArena {
 public:
  ParamArena(const LlamaConfig& config, DType dtype);

  [[nodiscard]] const std::vector<Param>& params() const { return params_; }
  [[nodiscard]] const ParamIndex& index() const { return index_; }
  [[nodiscard]] DType dtype() const { return memory_.dtype(); }
  [[nodiscard]] size_t size_bytes() const { return memory_.size_bytes(); }
  /// [rows, cols] of parameter i.
  [[nodiscard]] View operator[](int64_t i) { return window<View>(memory_.view(), i, 1); }
  [[nodiscard]] ConstView operator[](int64_t i) const {
    return window<ConstView>(memory_.view(), i, 1);
  }
  /// [(heads + 2 kv_heads) * head_dim, hidden] and [2 * intermediate, hidden].
  [[nodiscard]] View qkv_proj(int64_t layer) {
    return window<View>(memory_.view(), index_.q_proj(layer), 3);
  }
  [[nodiscard]] ConstView qkv_proj(int64_t layer) const {
    return window<ConstView>(memory_.view(), index_.q_proj(layer), 3);
  }
  [[nodiscard]] View gate_up_proj(int64_t layer) {
    return window<View>(memory_.view(), index_.gate_proj(layer), 2);
  }
  [[nodiscard]] ConstView gate_up_proj(int64_t layer) const {
    return window<ConstView>(memory_.view(), index_.gate_proj(layer), 2);
  }
  /// The whole block as one row, for reductions and updates that do not care about shapes.
  [[nodiscard]] View all() { return memory_.view(); }
  [[nodiscard]] ConstView all() const { return memory_.view(); }

 private:
  template <class V>
  V window(V memory, int64_t i, int64_t count) const;
  std::vector<Param> params_;
  ParamIndex index_;
  std::vector<int64_t> offsets_;  // params_.size() + 1 element offsets
  Tensor memory_;
};

/// Fills weights with normal(0, init_std) (ones for norms): a pure function of (seed, parameter, element).
void init_parameters(ParamArena& weights, uint64_t seed, class ThreadPool& pool);

}  // namespace cria
