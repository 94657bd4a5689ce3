// Llama 3: embedding, decoder layers, norm and head; forward and backward for training, forward over caches for generation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/params.h"
#include "ops/exec.h"

namespace cria {

class Groups;
class PackedWeights;

/// What a layer's backward makes again instead of keeping it: nothing that costs a product, the products of gate and up, or
/// everything from the layer's input. All give the same bits.
enum class Recompute { none, gate_up, full };

/// What each layer of a model recomputes.
class RecomputePolicy {
 public:
  RecomputePolicy(Recompute all = Recompute::none) : layers_{all} {}
  /// One entry for each layer of the model.
  explicit RecomputePolicy(std::vector<Recompute> layers) : layers_(std::move(layers)) {}
  [[nodiscard]] Recompute of(int64_t layer) const {
    return layers_.size() == 1 ? layers_.front() : layers_.at(static_cast<size_t>(layer));
  }
  /// Of the layers [first, first + count).
  [[nodiscard]] std::vector<Recompute> of_run(int64_t first, int64_t count) const {
    std::vector<Recompute> run;
    for (int64_t l = 0; l < count; ++l) run.push_back(of(first + l));
    return run;
  }

 private:
  std::vector<Recompute> layers_;
};

/// Tokens of one micro batch, laid end to end. targets[t] is the token that should follow t, or negative: untrained.
struct Batch {
  std::span<const int32_t> ids;
  std::span<const int32_t> targets;
  std::span<const int64_t>
      documents;  // offsets, first 0, last ids.size(); attention stays inside a document
  std::span<const int32_t> positions;  // of each token in its document
};

/// Training: owns the activations of one micro batch. Memory is allocated by the first call and reused.
class Trainee {
 public:
  /// `compute` is the dtype of activations (f32, bf16 or f16). `weights` outlives the object; weights may be of any float dtype.
  /// Where `exec` names a device, weights and gradients lie in its memory (ParamArena::copy_to), and all else is made there.
  Trainee(const LlamaConfig& config, const ParamArena& weights, DType compute,
          const RecomputePolicy& recompute, ops::Exec& exec);
  ~Trainee();

  /// Losses per token (0 where untrained). With `grads`, also the gradient of scale * sum(token_loss): written when
  /// `first`, else the complete gradient of this micro batch is added. grads is f32.
  void forward(const Batch& batch, std::span<float> token_loss);
  void forward_backward(const Batch& batch, float scale, std::span<float> token_loss,
                        ParamArena& grads, bool first);
  /// All logits [tokens, vocab] f32, for comparison tools and evaluation of small batches.
  void logits(const Batch& batch, View out);
  [[nodiscard]] size_t activation_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The keys and values of one sequence, all layers; grows by doubling up to max_position_embeddings.
class KvCache {
 public:
  /// `config` is the rank's local one (model_part.h). `dtype`: f32, f16, bf16, or i8 for rows of 8 bits (ops/int8_rows.h). In a
  /// device's memory (not i8), or the host's.
  KvCache(const LlamaConfig& config, DType dtype, Memory* memory = nullptr);
  [[nodiscard]] int64_t length() const { return length_; }
  [[nodiscard]] int64_t capacity() const { return capacity_; }
  /// Room for `tokens` more; keeps what is there. Throws UsageError beyond the model's context.
  void reserve(int64_t tokens);
  void advance(int64_t tokens) { length_ += tokens; }
  void truncate(int64_t length) { length_ = length; }
  /// Bytes that a token takes, all layers.
  [[nodiscard]] static int64_t token_bytes(const LlamaConfig& config, DType dtype);
  /// [kv_heads * capacity, head_dim] of a layer, or rows of 8 bits.
  [[nodiscard]] View keys(int64_t layer) { return keys_[static_cast<size_t>(layer)].view(); }
  [[nodiscard]] View values(int64_t layer) { return values_[static_cast<size_t>(layer)].view(); }

 private:
  int64_t kv_heads_, row_cols_, max_length_, capacity_ = 0, length_ = 0;
  DType dtype_;
  Memory* memory_;
  std::vector<Tensor> keys_, values_;
};

/// Generation: forward over caches, logits of the last token of each sequence. Ranks that share every layer (tensor parallelism)
/// and those that have the other layers (pipeline stages) make the same calls, each with caches of its own; tokens flow from
/// stage to stage, and those of the last get the whole logits.
class Decoder {
 public:
  /// `weights` are what the rank holds: its layers, of matrices its slices. `groups` are of the ranks that hold the rest, null for
  /// one rank. Where `exec` names a device, weights, caches and logits lie in its memory.
  Decoder(const LlamaConfig& config, const ParamArena& weights, DType compute, ops::Exec& exec,
          Groups* groups = nullptr);
  /// The same with packed weights, on processors only.
  Decoder(const PackedWeights& weights, DType compute, ops::Exec& exec, Groups* groups = nullptr);
  ~Decoder();
  Decoder(Decoder&&) noexcept;

  /// Where caches and logits lie; null: in the host's memory.
  [[nodiscard]] Memory* memory() const;
  /// Where and how it computes.
  [[nodiscard]] const ops::Exec& exec() const;
  /// Whether this rank gets logits. On others they are left as they are.
  [[nodiscard]] bool has_head() const;
  /// Appends a prompt (or a part of one) to its cache; logits [1, vocab] f32 after its last token, or an empty View.
  /// A prompt's result does not depend on what else runs.
  void prefill(std::span<const int32_t> ids, KvCache& cache, View logits);
  /// One token for each sequence; logits [sequences, vocab] f32. A row's bits are the same alone and in any batch.
  void step(std::span<const int32_t> ids, std::span<KvCache* const> caches, View logits);
  /// As prefill(), but logits [ids, vocab] f32 after every token of the piece.
  void prefill_all(std::span<const int32_t> ids, KvCache& cache, View logits);
  [[nodiscard]] const LlamaConfig& config() const;
  /// What this rank computes of it: the shape of its caches.
  [[nodiscard]] const LlamaConfig& local() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cria
