#include "model/stage.h"

#include <algorithm>

#include "base/error.h"
#include "ops/device.h"
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

Stage::Stage(const Shared& shared, const LayerRun& run) : shared_(shared), run_(run) {
  for (int64_t l = run.first; l < run.first + run.count; ++l)
    layers_.emplace_back(config(), shared.layers.views(l).as<Weight>(), shared.weights.part().tp,
                         l);
  if (!run.head || shared.tp.alone()) return;
  Comm* const group = shared.tp.group();
  head_split_ = {.first_row = group->begin(config().vocab_size, group->rank()),
                 .total_rows = config().vocab_size,
                 .max = [group](std::span<float> values) { group->all_reduce_max(values); },
                 .sum = [group](std::span<double> values) { group->all_reduce(values); }};
}

ConstView Stage::final_norm() const { return shared_.weights[shared_.weights.index().norm()]; }
ConstView Stage::lm_head() const { return shared_.weights[shared_.weights.index().lm_head()]; }

Activations& Stage::slot(size_t i) {
  while (slots_.size() <= i)
    slots_.emplace_back(shared_.workspace, shared_.recompute.of_run(run_.first, run_.count));
  return slots_[i];
}

Extent Stage::extent_of(const Batch& batch) const {
  const auto tokens = std::ssize(batch.ids);
  return {tokens, shared_.tp.stream_rows(tokens)};
}

Context Stage::context_of(const Batch& batch) const {
  return {.positions = batch.positions,
          .rope = shared_.rope.covering(*std::ranges::max_element(batch.positions) + 1),
          .sequences = batch.documents,
          .caches = {},
          .tp = shared_.tp};
}

View Stage::prepare(size_t i, const Batch& batch, Keep keep) {
  check_batch(batch, config().max_position_embeddings);
  require(!shared_.tp.sequence() || std::ssize(batch.ids) >= shared_.tp.group()->size(),
          "sequence parallelism over {} ranks needs as many tokens, a batch has {}",
          shared_.tp.sequence() ? shared_.tp.group()->size() : 1, batch.ids.size());
  Activations& a = slot(i);
  a.prepare(extent_of(batch), keep);
  return a.input(0);
}

/// From ids to the first rows of the residual stream.
void Stage::enter(Activations& a, const Batch& batch) {
  const TensorParallel& tp = shared_.tp;
  const ConstView table = shared_.weights[shared_.weights.index().embed_tokens()];
  const View stream = a.input(0), space = shared_.workspace.layer().whole;
  if (!shared_.weights.part().vocab_split) {
    const auto first = static_cast<size_t>(tp.first_row(a.extent().tokens));
    ops::embedding(batch.ids.subspan(first, static_cast<size_t>(stream.rows)), table, stream,
                   shared_.exec);
    return;
  }
  ops::embedding(batch.ids, table, tp.contribution(stream, space), shared_.exec,
                 first_vocab_row(table), config().vocab_size);
  tp.sum(stream, space);
}

void Stage::forward(size_t i, const Batch& batch) {
  Activations& a = slot(i);
  const Context context = context_of(batch);
  if (run_.embedding) enter(a, batch);
  for (int64_t l = 0; l < run_.count; ++l) {
    LayerActivations kept = a.layer(l);
    shared_.layers.fetch(run_.first + l);
    layers_[static_cast<size_t>(l)].forward(context, kept, a.output(l), shared_.workspace.layer(),
                                            shared_.exec);
  }
}

View Stage::output(size_t i) { return slot(i).output(run_.count - 1); }

View Stage::normed(Activations& a) {
  LayerWorkspace& ws = shared_.workspace.layer();
  ops::rms_norm(a.output(run_.count - 1), final_norm(), eps(), ws.normed,
                a.kept() ? a.final_rstd() : View(), shared_.exec);
  return shared_.tp.whole(ws.normed, ws.whole);
}

void Stage::head_loss(ConstView x, const Batch& batch, std::span<float> token_loss,
                      const ops::HeadGradients& gradients) {
  ops::linear_cross_entropy(x, own_rows(lm_head()), batch.targets, token_loss, gradients,
                            shared_.exec, head_split_ ? &*head_split_ : nullptr);
}

void Stage::losses(size_t i, const Batch& batch, std::span<float> token_loss) {
  head_loss(normed(slot(i)), batch, token_loss, {});
}

void Stage::logits(size_t i, View out) {
  check(!shared_.weights.part().vocab_split, "logits of a split vocabulary are on several ranks");
  ops::linear(normed(slot(i)), lm_head(), out, shared_.exec);
}

View Stage::gradient(size_t i) {
  slot(i).prepare_workspace();  // other micro batches have used it since
  return shared_.workspace.dx();
}

/// Loss, the head's gradient, and dx = the gradient of the last layer's output.
void Stage::back_through_head(Activations& a, const Batch& batch, float scale,
                              std::span<float> token_loss, const StageGradients& grads,
                              ops::Into into) {
  const ops::Exec& exec = shared_.exec;
  const TensorParallel& tp = shared_.tp;
  LayerWorkspace& ws = shared_.workspace.layer();
  const View x = normed(a);
  const View head = grads.params[grads.params.index().lm_head()];
  if (into == ops::Into::add && head_gradient_.rows() == 0)
    head_gradient_ = Tensor(DType::f32, head.rows, head.cols, exec.device);
  const View written = into == ops::Into::write ? head : head_gradient_.view();
  const View dx_whole = tp.sequence() ? shared_.workspace.head_dx() : ws.d_normed;
  head_loss(x, batch, token_loss, {.dx = dx_whole, .dw = own_rows(written), .scale = scale});
  if (shares_whole_head()) tp.group()->all_gather(own_rows(written), written);
  if (into == ops::Into::add && !completes_shared_table(grads)) ops::add(head, written, exec);
  tp.sum(ws.d_normed, dx_whole);
  const View dx = shared_.workspace.dx(), d_norm = grads.params[grads.params.index().norm()];
  ops::fill_zero(dx, exec);
  if (into == ops::Into::write) ops::fill_zero(d_norm, exec);
  ops::rms_norm_backward(a.output(run_.count - 1), final_norm(), a.final_rstd(), ws.d_normed, dx,
                         d_norm, exec);
}

void Stage::back_through_layers(Activations& a, const Context& context, const StageGradients& grads,
                                ops::Into into) {
  LayerWorkspace& ws = shared_.workspace.layer();
  for (int64_t l = run_.count - 1; l >= 0; --l) {
    const DecoderLayer& layer = layers_[static_cast<size_t>(l)];
    LayerActivations kept = a.layer(l);
    const int64_t number = run_.first + l;
    shared_.layers.fetch(number);
    switch (a.recompute(l)) {
      case Recompute::none:
        break;
      case Recompute::gate_up:
        layer.remake_gate_up(context, kept, ws, shared_.exec);
        break;
      case Recompute::full:
        layer.forward(context, kept, View(), ws, shared_.exec);
        break;
    }
    const LayerGradients::Place place =
        grads.layers != nullptr ? grads.layers->place(number)
                                : LayerGradients::Place{layer_views(grads.params, number), into};
    layer.backward(context, kept, shared_.workspace.dx(), place.views, place.into, ws,
                   shared_.exec);
    if (grads.layers != nullptr) grads.layers->complete(number);
  }
}

void Stage::back_through_embedding(const Batch& batch, const StageGradients& grads,
                                   ops::Into into) {
  const TensorParallel& tp = shared_.tp;
  const ParamIndex& index = grads.params.index();
  const bool apart = grads.entrance.data != nullptr;
  const bool completes = into == ops::Into::add && completes_shared_table(grads);
  const View complete = grads.params[index.embed_tokens()];
  const View table = apart ? grads.entrance : completes ? head_gradient_.view() : complete;
  if (into == ops::Into::write && (apart || !index.shared())) ops::fill_zero(table, shared_.exec);
  const View dx = tp.whole(shared_.workspace.dx(), shared_.workspace.layer().whole);
  ops::embedding_backward(batch.ids, dx, table, shared_.exec, first_vocab_row(table),
                          config().vocab_size);
  if (completes) ops::add(complete, table, shared_.exec);
}

View Stage::backward(size_t i, const Batch& batch, float scale, std::span<float> token_loss,
                     const StageGradients& grads, ops::Into into) {
  Activations& a = slot(i);
  const Context context = context_of(batch);
  if (run_.head) back_through_head(a, batch, scale, token_loss, grads, into);
  back_through_layers(a, context, grads, into);
  if (run_.embedding) back_through_embedding(batch, grads, into);
  return shared_.workspace.dx();
}

size_t Stage::size_bytes() const {
  size_t bytes = head_gradient_.size_bytes();
  for (const Activations& a : slots_) bytes += a.size_bytes();
  return bytes;
}

}  // namespace cria
