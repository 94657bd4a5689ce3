// The whole model in training: embedding, layers, final norm and the head with its loss, then the way back.
#include <algorithm>

#include "base/error.h"
#include "model/activations.h"
#include "model/decoder_layer.h"
#include "model/llama.h"
#include "model/rope_cache.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"
#include "ops/rms_norm.h"

namespace cria {
namespace {

void check_batch(const Batch& batch, int64_t context) {
  const auto tokens = std::ssize(batch.ids);
  require(tokens > 0, "a batch without tokens");
  require(std::ssize(batch.targets) == tokens && std::ssize(batch.positions) == tokens,
          "a batch of {} tokens has {} targets and {} positions", tokens, batch.targets.size(),
          batch.positions.size());
  require(batch.documents.size() >= 2 && batch.documents.front() == 0 &&
              batch.documents.back() == tokens && std::ranges::is_sorted(batch.documents),
          "a batch's documents must go from 0 to its {} tokens in ascending order", tokens);
  for (const int32_t position : batch.positions) {
    require(position >= 0 && position < context,
            "position {} lies outside the model's context of {} tokens", position, context);
  }
}

}  // namespace

struct Trainee::Impl {
  Impl(const LlamaConfig& c, const ParamArena& w, DType compute, Recompute r, const ops::Exec& e)
      : config(c), weights(w), recompute(r), exec(e), rope(c), activations(c, compute) {
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.emplace_back(config, weights, i);
  }

  Context context_of(const Batch& batch);
  View run_layers(const Batch& batch, const Context& context, Keep keep);
  void back_through_head(const Batch& batch, float scale, std::span<float> token_loss,
                         ParamArena& grads, ops::Into into);
  void back_through_layers(const Context& context, ParamArena& grads, ops::Into into);
  void back_through_embedding(const Batch& batch, ParamArena& grads, ops::Into into);
  /// Where the head's gradient is written: an accumulated gradient must not be overwritten.
  View head_gradient(ParamArena& grads, ops::Into into);

  [[nodiscard]] ConstView final_norm() const { return weights[weights.index().norm()]; }
  [[nodiscard]] ConstView lm_head() const { return weights[weights.index().lm_head()]; }
  [[nodiscard]] float eps() const { return static_cast<float>(config.rms_norm_eps); }

  LlamaConfig config;
  const ParamArena& weights;
  Recompute recompute;
  const ops::Exec& exec;
  RopeCache rope;
  Activations activations;
  std::vector<DecoderLayer> layers;
  Tensor table_gradient;  // [V, hidden] f32: one micro batch's, before it is added
};

Context Trainee::Impl::context_of(const Batch& batch) {
  check_batch(batch, config.max_position_embeddings);
  return {.positions = batch.positions,
          .rope = rope.covering(*std::ranges::max_element(batch.positions) + 1),
          .sequences = batch.documents,
          .caches = {}};
}

/// From ids to the normalised output of the last layer.
View Trainee::Impl::run_layers(const Batch& batch, const Context& context, Keep keep) {
  activations.prepare(std::ssize(batch.ids), keep);
  LayerWorkspace& ws = activations.workspace();
  ops::embedding(batch.ids, weights[weights.index().embed_tokens()], activations.input(0), exec);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    LayerActivations a = activations.layer(i);
    layers[static_cast<size_t>(i)].forward(context, a, activations.output(i), ws, exec);
  }
  ops::rms_norm(activations.output(config.num_hidden_layers - 1), final_norm(), eps(), ws.normed,
                keep == Keep::nothing ? View() : activations.final_rstd(), exec);
  return ws.normed;
}

View Trainee::Impl::head_gradient(ParamArena& grads, ops::Into into) {
  if (into == ops::Into::write) return grads[grads.index().lm_head()];
  if (table_gradient.rows() == 0)
    table_gradient = Tensor(DType::f32, config.vocab_size, config.hidden_size);
  return table_gradient;
}

/// Loss, the head's gradient, and dx = the gradient of the last layer's output.
void Trainee::Impl::back_through_head(const Batch& batch, float scale, std::span<float> token_loss,
                                      ParamArena& grads, ops::Into into) {
  LayerWorkspace& ws = activations.workspace();
  const View head = head_gradient(grads, into);
  ops::linear_cross_entropy(ws.normed, lm_head(), batch.targets, token_loss,
                            {.dx = ws.d_normed, .dw = head, .scale = scale}, exec);
  const ParamIndex& index = grads.index();
  if (into == ops::Into::add && !index.tied) ops::add(grads[index.lm_head()], head, exec);
  const View dx = activations.dx(), d_norm = grads[index.norm()];
  ops::fill_zero(dx, exec);
  if (into == ops::Into::write) ops::fill_zero(d_norm, exec);
  ops::rms_norm_backward(activations.output(config.num_hidden_layers - 1), final_norm(),
                         activations.final_rstd(), ws.d_normed, dx, d_norm, exec);
}

void Trainee::Impl::back_through_layers(const Context& context, ParamArena& grads, ops::Into into) {
  LayerWorkspace& ws = activations.workspace();
  for (int64_t i = config.num_hidden_layers - 1; i >= 0; --i) {
    const DecoderLayer& layer = layers[static_cast<size_t>(i)];
    LayerActivations a = activations.layer(i);
    if (recompute == Recompute::full) layer.forward(context, a, View(), ws, exec);
    layer.backward(context, a, activations.dx(), grads, into, ws, exec);
  }
}

void Trainee::Impl::back_through_embedding(const Batch& batch, ParamArena& grads, ops::Into into) {
  const ParamIndex& index = grads.index();
  const View table = grads[index.embed_tokens()];
  if (!index.tied && into == ops::Into::write) ops::fill_zero(table, exec);
  // A tied table's gradient has the head's part too, and is complete only with both.
  const bool apart = index.tied && into == ops::Into::add;
  const View complete = apart ? table_gradient.view() : table;
  ops::embedding_backward(batch.ids, activations.dx(), complete, exec);
  if (apart) ops::add(table, complete, exec);
}

Trainee::Trainee(const LlamaConfig& config, const ParamArena& weights, DType compute,
                 Recompute recompute, ops::Exec& exec)
    : impl_(std::make_unique<Impl>(config, weights, compute, recompute, exec)) {}
Trainee::~Trainee() = default;

void Trainee::forward(const Batch& batch, std::span<float> token_loss) {
  const Context context = impl_->context_of(batch);
  const View normed = impl_->run_layers(batch, context, Keep::nothing);
  ops::linear_cross_entropy(normed, impl_->lm_head(), batch.targets, token_loss, {}, impl_->exec);
}

void Trainee::forward_backward(const Batch& batch, float scale, std::span<float> token_loss,
                               ParamArena& grads, bool first) {
  check(grads.dtype() == DType::f32, "gradients are f32");
  const ops::Into into = first ? ops::Into::write : ops::Into::add;
  const Keep keep = impl_->recompute == Recompute::full ? Keep::inputs : Keep::all;
  const Context context = impl_->context_of(batch);
  impl_->run_layers(batch, context, keep);
  impl_->back_through_head(batch, scale, token_loss, grads, into);
  impl_->back_through_layers(context, grads, into);
  impl_->back_through_embedding(batch, grads, into);
}

void Trainee::logits(const Batch& batch, View out) {
  const Context context = impl_->context_of(batch);
  const View normed = impl_->run_layers(batch, context, Keep::nothing);
  ops::linear(normed, impl_->lm_head(), out, impl_->exec);
}

size_t Trainee::activation_bytes() const {
  return impl_->activations.size_bytes() + impl_->table_gradient.size_bytes();
}

}  // namespace cria
