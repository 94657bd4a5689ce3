// A run of consecutive layers in training, with the table at the model's entrance and the head with its loss where the run has
// them: one pipeline stage, or the whole model. Several micro batches can be under way, each in a slot of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "model/activations.h"
#include "model/layer_weights.h"
#include "model/llama.h"
#include "model/params.h"
#include "model/rope_cache.h"
#include "model/tensor_parallel.h"
#include "ops/linear_cross_entropy.h"

namespace cria {

/// Takes layers' gradients, f32.
class LayerGradients {
 public:
  struct Place {
    LayerViews<View> views;
    ops::Into into;
  };
  virtual ~LayerGradients() = default;
  /// Where the next backward of `layer` puts its gradients.
  virtual Place place(int64_t layer) = 0;
  /// They are complete for this micro batch.
  virtual void complete(int64_t layer) = 0;
};

/// Where gradients go, f32.
struct StageGradients {
  ParamArena& params;
  /// [rows of the table, hidden]: the entrance's part of a tied table's gradient, kept apart from the head's so that each is
  /// one sum over micro batches and ranks. Empty: it is added to the head's.
  View entrance;
  LayerGradients* layers = nullptr;  // of decoder layers; null: params too
};

class Stage {
 public:
  /// What all stages of a rank share. The objects outlive the stage.
  struct Shared {
    const ParamArena& weights;
    LayerWeights& layers;
    Workspace& workspace;
    RopeCache& rope;
    const ops::Exec& exec;
    TensorParallel tp;
    RecomputePolicy recompute;
  };
  Stage(const Shared& shared, const LayerRun& run);

  /// Room for a batch in `slot`, and where the stage before puts the stream rows (a run with embedding fills them itself).
  View prepare(size_t slot, const Batch& batch, Keep keep);
  /// After prepare(): through the layers.
  void forward(size_t slot, const Batch& batch);
  /// Stream rows for the next stage; stay until the slot is prepared again.
  View output(size_t slot);

  /// A run with head, after forward(): losses per token, 0 where untrained.
  void losses(size_t slot, const Batch& batch, std::span<float> token_loss);
  /// A run with head, after forward(): logits [tokens, vocab] f32. Not with a split vocabulary.
  void logits(size_t slot, View out);

  /// Room for backward of `slot`, and where the next stage puts the gradient of output(slot). With head it needs none.
  View gradient(size_t slot);
  /// After gradient(): losses (with head) and gradients of scale * sum(token_loss); each weight's gradient is complete before
  /// it is written (`into` write) or added. Returns the gradient of the stage's input, valid until the next call of anything.
  View backward(size_t slot, const Batch& batch, float scale, std::span<float> token_loss,
                const StageGradients& grads, ops::Into into);

  [[nodiscard]] const LayerRun& run() const { return run_; }
  /// Without the workspace.
  [[nodiscard]] size_t size_bytes() const;

 private:
  Activations& slot(size_t i);
  Context context_of(const Batch& batch) const;
  [[nodiscard]] Extent extent_of(const Batch& batch) const;
  [[nodiscard]] const LlamaConfig& config() const { return shared_.weights.config(); }
  [[nodiscard]] float eps() const { return static_cast<float>(config().rms_norm_eps); }
  [[nodiscard]] ConstView final_norm() const;
  [[nodiscard]] ConstView lm_head() const;
  /// Whether ranks that share every layer hold the whole head each. They share its rows out, and each multiplies its own.
  [[nodiscard]] bool shares_whole_head() const {
    return !shared_.tp.alone() && !shared_.weights.part().vocab_split;
  }
  /// This rank's rows of the head, or of what has as many.
  template <class V>
  [[nodiscard]] V own_rows(V head) const {
    return shares_whole_head() ? shared_.tp.group()->rows_of(head, shared_.tp.group()->rank())
                               : head;
  }
  /// Loss of the head's input x; gradients where they are wanted.
  void head_loss(ConstView x, const Batch& batch, std::span<float> token_loss,
                 const ops::HeadGradients& gradients);
  /// The vocabulary's row that the table held here begins with.
  [[nodiscard]] int64_t first_vocab_row(ConstView table) const {
    const ModelPart& part = shared_.weights.part();
    return part.vocab_split ? part.tp_index * table.rows : 0;
  }
  /// The final norm's output, all tokens.
  View normed(Activations& a);
  void enter(Activations& a, const Batch& batch);
  void back_through_head(Activations& a, const Batch& batch, float scale,
                         std::span<float> token_loss, const StageGradients& grads, ops::Into into);
  void back_through_layers(Activations& a, const Context& context, const StageGradients& grads,
                           ops::Into into);
  void back_through_embedding(const Batch& batch, const StageGradients& grads, ops::Into into);
  /// A tied table's gradient has two parts; where they are not kept apart, both are added at once.
  static bool completes_shared_table(const StageGradients& grads) {
    return grads.params.index().shared() && grads.entrance.data == nullptr;
  }

  Shared shared_;
  LayerRun run_;
  std::optional<ops::VocabSplit>
      head_split_;  // how ranks that share the head speak of a token's logits
  std::vector<DecoderLayer> layers_;
  std::deque<Activations> slots_;
  Tensor head_gradient_;  // [V, hidden] f32: one micro batch's, before it is added
};

}  // namespace cria
