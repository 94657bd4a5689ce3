// The one list of parameters. Allocation, gradients, optimizer state, counting, checkpoints, name dialects and resharding
// are loops over it; no second list exists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/model_part.h"
#include "tensor/tensor.h"

namespace cria {

struct Param {
  std::string name;                  // Hugging Face's
  int64_t number = 0;                // in the whole model's table
  std::vector<int64_t> shape;        // of the whole tensor: [out, in], or [n] for norms
  std::vector<int64_t> begin, size;  // the box of it that is held here; all of it in a whole model
  int tp_dim = -1;                   // the dim tensor parallelism splits; -1: replicated
  bool decay = true;                 // weight decay applies (matrices); norms are not decayed
  double init_std = 0.01;            // normal(0, init_std) without weights; norms start at one
  int layer = -1;                    // decoder layer, or -1 for embedding, final norm and head
  /// The last stage's copy of a tied table that belongs to the first.
  bool copy = false;
  /// Cut by rows over data-parallel ranks (OptimizerShard).
  bool sharded = false;

  [[nodiscard]] bool is_norm() const { return shape.size() == 1; }
  [[nodiscard]] bool whole() const { return size == shape; }
  // Of the box.
  [[nodiscard]] int64_t rows() const { return size.size() == 1 ? 1 : size[0]; }
  [[nodiscard]] int64_t cols() const { return size.back(); }
  [[nodiscard]] int64_t elements() const { return rows() * cols(); }
  [[nodiscard]] int64_t first_row() const { return size.size() == 1 ? 0 : begin[0]; }
};

/// Hugging Face's state_dict order: embedding; per layer q, k, v, o, gate, up, down, input norm, post norm; norm; lm_head
/// (which a tied model has not).
std::vector<Param> llama_params(const LlamaConfig& config);
/// What a part holds, in the same order; boxes cut further for a shard of the optimizer's state.
/// A part with the head of a tied model but not its table holds a copy of the table where lm_head would stand.
std::vector<Param> part_params(const LlamaConfig& config, const ModelPart& part,
                               const OptimizerShard& shard = {});
int64_t count_parameters(const LlamaConfig& config);

/// Positions in a part's list, so that nobody searches by name. Layers are numbered as in the whole model.
class ParamIndex {
 public:
  explicit ParamIndex(const LlamaConfig& config) : ParamIndex(config, whole_model(config)) {}
  ParamIndex(const LlamaConfig& config, const ModelPart& part);
  static constexpr int64_t kPerLayer = 9;
  [[nodiscard]] int64_t embed_tokens() const { return 0; }
  [[nodiscard]] int64_t layer(int64_t i) const { return layers_[static_cast<size_t>(i)]; }
  [[nodiscard]] int64_t q_proj(int64_t i) const { return layer(i) + 0; }
  [[nodiscard]] int64_t k_proj(int64_t i) const { return layer(i) + 1; }
  [[nodiscard]] int64_t v_proj(int64_t i) const { return layer(i) + 2; }
  [[nodiscard]] int64_t o_proj(int64_t i) const { return layer(i) + 3; }
  [[nodiscard]] int64_t gate_proj(int64_t i) const { return layer(i) + 4; }
  [[nodiscard]] int64_t up_proj(int64_t i) const { return layer(i) + 5; }
  [[nodiscard]] int64_t down_proj(int64_t i) const { return layer(i) + 6; }
  [[nodiscard]] int64_t input_layernorm(int64_t i) const { return layer(i) + 7; }
  [[nodiscard]] int64_t post_attention_layernorm(int64_t i) const { return layer(i) + 8; }
  [[nodiscard]] int64_t norm() const { return norm_; }
  /// The head's weight: its own, the table of a tied model, or the copy of that.
  [[nodiscard]] int64_t lm_head() const { return shared_ ? embed_tokens() : norm_ + 1; }
  [[nodiscard]] bool tied() const { return tied_; }
  /// One table is entrance and head at once.
  [[nodiscard]] bool shared() const { return shared_; }

 private:
  std::vector<int64_t> layers_;  // -1: not held
  int64_t norm_ = -1;
  bool tied_ = false, shared_ = false;
};

/// One value per parameter element in one block of memory, in the table's order without gaps: weights, gradients or moments.
/// q, k, v lie side by side, and gate and up, so the fused matrices are plain windows.
class ParamArena {
 public:
  ParamArena(const LlamaConfig& config, DType dtype)
      : ParamArena(config, dtype, whole_model(config)) {}
  /// `memory`: a device's, which outlives the arena; null: the host's.
  ParamArena(const LlamaConfig& config, DType dtype, const ModelPart& part,
             const OptimizerShard& shard = {}, Memory* memory = nullptr);
  /// The same in a device's memory, or from there in the host's (null).
  [[nodiscard]] ParamArena copy_to(Memory* memory) const;
  /// The same table with zeros as values.
  [[nodiscard]] ParamArena empty_like(Memory* memory) const;

  [[nodiscard]] const LlamaConfig& config() const { return config_; }  // of the whole model
  [[nodiscard]] const ModelPart& part() const { return part_; }
  [[nodiscard]] const std::vector<Param>& params() const { return params_; }
  [[nodiscard]] const ParamIndex& index() const { return index_; }
  [[nodiscard]] DType dtype() const { return memory_.dtype(); }
  [[nodiscard]] size_t size_bytes() const { return memory_.size_bytes(); }
  /// Where it lies; null: in the host's memory. Only then may the host follow a View's pointer.
  [[nodiscard]] Memory* memory() const { return memory_.memory(); }
  /// Rows from `first` on of parameter i, as many as the bytes are, from and to the host's memory, wherever the arena lies.
  /// Any thread may call them.
  void read_rows(int64_t i, int64_t first, std::span<std::byte> out) const;
  void write_rows(int64_t i, int64_t first, std::span<const std::byte> rows);
  /// The values of whole rows of this arena, in order: at once where the host can read them, else in pieces of some MiB.
  void for_bytes(ConstView rows, const std::function<void(std::span<const std::byte>)>& use) const;
  /// The values of another arena of the same table and dtype; one of the two may be on a device.
  void assign(const ParamArena& other);
  /// [rows, cols] of parameter i.
  [[nodiscard]] View operator[](int64_t i) { return window<View>(memory_.view(), i, 1); }
  [[nodiscard]] ConstView operator[](int64_t i) const {
    return window<ConstView>(memory_.view(), i, 1);
  }
  /// [(heads + 2 kv_heads) * head_dim, hidden] and [2 * intermediate, hidden], of the heads and columns held.
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
  ParamArena(const ParamArena& like, Tensor memory)
      : config_(like.config_),
        part_(like.part_),
        params_(like.params_),
        index_(like.index_),
        offsets_(like.offsets_),
        memory_(std::move(memory)) {}
  template <class V>
  V window(V memory, int64_t i, int64_t count) const;
  LlamaConfig config_;
  ModelPart part_;
  std::vector<Param> params_;
  ParamIndex index_;
  std::vector<int64_t> offsets_;  // params_.size() + 1 element offsets
  Tensor memory_;
};

/// Fills weights with normal(0, init_std) (ones for norms): a pure function of (seed, parameter, element of
/// the whole tensor).
void init_parameters(ParamArena& weights, uint64_t seed, class ThreadPool& pool);

}  // namespace cria
