#include "model/decoder_layer.h"

#include "ops/elementwise.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace cria {
namespace {

// Windows of the packed [q, k, v].
template <class V>
struct Packed {
  V q, k, v, rotated;  // rotated: q and k together
};
template <class V>
Packed<V> unpack(V qkv, const ops::HeadShape& s) {
  const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  return {qkv.col_range(0, q), qkv.col_range(q, kv), qkv.col_range(q + kv, kv),
          qkv.col_range(0, q + kv)};
}

// Norms' gradients are only ever added.
void clear_for(ops::Into into, View grad, const ops::Exec& exec) {
  if (into == ops::Into::write) ops::fill_zero(grad, exec);
}

}  // namespace

DecoderLayer::DecoderLayer(const LlamaConfig& config, LayerViews<Weight> weights, int tp,
                           int64_t index)
    : index_(index),
      shape_{config.num_attention_heads / tp, config.num_key_value_heads / tp, config.head_dim},
      eps_(static_cast<float>(config.rms_norm_eps)),
      w_(std::move(weights)) {}

void DecoderLayer::forward(const Context& context, LayerActivations& a, View output,
                           LayerWorkspace& ws, const ops::Exec& exec) const {
  ops::rms_norm(a.input, w_.input_layernorm, eps_, ws.normed, a.input_rstd, exec);
  project(context.tp.whole(ws.normed, ws.whole), w_.qkv_proj, a.qkv, context, exec);
  ops::rope(unpack(a.qkv, shape_).rotated, context.positions, context.rope, ops::Turn::forward,
            exec);
  attend(context, a, ws, exec);
  project_to_stream(a.attended, w_.o_proj, a.middle, context, ws, exec);

  ops::add_rms_norm(a.middle, a.input, w_.post_attention_layernorm, eps_, ws.normed, a.middle_rstd,
                    exec);
  project(context.tp.whole(ws.normed, ws.whole), w_.gate_up_proj, a.gate_up, context, exec);
  if (output.data == nullptr) return;
  ops::swiglu(a.gate_up, ws.hidden, exec);
  project_to_stream(ws.hidden, w_.down_proj, output, context, ws, exec);
  ops::add(output, a.middle, exec);
}

void DecoderLayer::remake_gate_up(const Context& context, LayerActivations& a, LayerWorkspace& ws,
                                  const ops::Exec& exec) const {
  ops::rms_norm(a.middle, w_.post_attention_layernorm, eps_, ws.normed, {}, exec);
  project(context.tp.whole(ws.normed, ws.whole), w_.gate_up_proj, a.gate_up, context, exec);
}

void DecoderLayer::backward(const Context& context, LayerActivations& a, View dx,
                            const LayerViews<View>& grads, ops::Into into, LayerWorkspace& ws,
                            const ops::Exec& exec) const {
  const TensorParallel& tp = context.tp;
  // MLP. dx is the gradient of down_proj's output as well as of the residual stream that goes round it.
  const View d_down = tp.whole(dx, ws.whole);
  ops::swiglu(a.gate_up, ws.hidden, exec);
  ops::linear_weight_grad(d_down, ws.hidden, grads.down_proj, exec, into);
  ops::linear_input_grad(d_down, w_.down_proj, ws.d_hidden, exec);
  const View d_gate_up = a.gate_up;
  ops::swiglu_backward(a.gate_up, ws.d_hidden, d_gate_up, exec);
  ops::rms_norm(a.middle, w_.post_attention_layernorm, eps_, ws.normed, {}, exec);
  ops::linear_weight_grad(d_gate_up, tp.whole(ws.normed, ws.whole), grads.gate_up_proj, exec, into);
  ops::linear_input_grad(d_gate_up, w_.gate_up_proj, tp.contribution(ws.d_normed, ws.whole), exec);
  tp.sum(ws.d_normed, ws.whole);
  clear_for(into, grads.post_attention_layernorm, exec);
  ops::rms_norm_backward(a.middle, w_.post_attention_layernorm, a.middle_rstd, ws.d_normed, dx,
                         grads.post_attention_layernorm, exec);

  // Attention, likewise.
  const View d_out = tp.whole(dx, ws.whole);
  ops::linear_weight_grad(d_out, a.attended, grads.o_proj, exec, into);
  ops::linear_input_grad(d_out, w_.o_proj, ws.d_attended, exec);
  const auto [q, k, v, rotated] = unpack(ConstView(a.qkv), shape_);
  const auto [dq, dk, dv, d_rotated] = unpack(ws.d_qkv, shape_);
  ops::attention_backward(q, k, v, a.attended, a.lse, ws.d_attended, context.sequences, shape_, dq,
                          dk, dv, exec);
  ops::rope(d_rotated, context.positions, context.rope, ops::Turn::backward, exec);
  ops::rms_norm(a.input, w_.input_layernorm, eps_, ws.normed, {}, exec);
  ops::linear_weight_grad(ws.d_qkv, tp.whole(ws.normed, ws.whole), grads.qkv_proj, exec, into);
  ops::linear_input_grad(ws.d_qkv, w_.qkv_proj, tp.contribution(ws.d_normed, ws.whole), exec);
  tp.sum(ws.d_normed, ws.whole);
  clear_for(into, grads.input_layernorm, exec);
  ops::rms_norm_backward(a.input, w_.input_layernorm, a.input_rstd, ws.d_normed, dx,
                         grads.input_layernorm, exec);
}

void DecoderLayer::project(ConstView x, const Weight& w, View y, const Context& context,
                           const ops::Exec& exec) {
  if (!w.packed.empty()) {
    ops::linear_packed(x, w.packed, y, exec);
  } else if (context.few_rows) {
    ops::linear_decode(x, w, y, exec);
  } else {
    ops::linear(x, w, y, exec);
  }
}

/// The product that closes a block: with several ranks, the sum of all their contributions.
void DecoderLayer::project_to_stream(ConstView x, const Weight& w, View stream,
                                     const Context& context, LayerWorkspace& ws,
                                     const ops::Exec& exec) const {
  project(x, w, context.tp.contribution(stream, ws.whole), context, exec);
  context.tp.sum(stream, ws.whole);
}

void DecoderLayer::attend(const Context& context, LayerActivations& a, LayerWorkspace& ws,
                          const ops::Exec& exec) const {
  const auto [q, k, v, rotated] = unpack(ConstView(a.qkv), shape_);
  if (context.caches.empty()) {
    ops::attention(q, k, v, context.sequences, shape_, a.attended, a.lse, exec);
    return;
  }
  ws.cached.clear();
  for (size_t i = 0; i < context.caches.size(); ++i) {
    KvCache& cache = *context.caches[i];
    const int64_t begin = context.sequences[i], count = context.sequences[i + 1] - begin;
    ws.cached.push_back({.first_row = begin,
                         .count = count,
                         .first_position = cache.length(),
                         .k = cache.keys(index_),
                         .v = cache.values(index_),
                         .capacity = cache.capacity()});
  }
  ops::append_to_caches(k, v, ws.cached, shape_, exec);
  ops::attention_cached(q, ws.cached, shape_, a.attended, exec);
}

}  // namespace cria
