#include "model/activations.h"

#include <algorithm>

namespace cria {

void Activations::ensure(Tensor& block, DType dtype, int64_t cols) const {
  if (block.rows() >= tokens_) return;
  block = {};  // the old memory goes before the new comes
  block = Tensor(dtype, tokens_, cols);
}

void Activations::prepare(int64_t tokens, Keep keep) {
  tokens_ = tokens;
  keep_ = keep;
  const auto layers = static_cast<size_t>(config_.num_hidden_layers);
  const size_t inputs = keep == Keep::nothing ? 1 : layers + 1;
  const size_t kept = keep == Keep::all ? layers : 1;
  inputs_.resize(std::max(inputs_.size(), inputs));
  kept_.resize(std::max(kept_.size(), kept));
  for (size_t i = 0; i < inputs; ++i) ensure(inputs_[i], compute_, config_.hidden_size);
  for (size_t i = 0; i < kept; ++i) {
    ensure(kept_[i].qkv, compute_, qkv_width());
    ensure(kept_[i].attended, compute_, attended_width());
    ensure(kept_[i].middle, compute_, config_.hidden_size);
    ensure(kept_[i].gate_up, compute_, 2 * config_.intermediate_size);
  }
  ensure(normed_, compute_, config_.hidden_size);
  ensure(hidden_, compute_, config_.intermediate_size);
  workspace_.normed = cut(normed_);
  workspace_.hidden = cut(hidden_);
  if (keep == Keep::nothing) return;
  for (size_t i = 0; i < kept; ++i) {
    ensure(kept_[i].lse, DType::f32, config_.num_attention_heads);
    ensure(kept_[i].rstd, DType::f32, 2);
  }
  prepare_backward();
}

void Activations::prepare_backward() {
  ensure(final_rstd_, DType::f32, 1);
  ensure(d_normed_, compute_, config_.hidden_size);
  ensure(d_hidden_, compute_, config_.intermediate_size);
  ensure(d_attended_, compute_, attended_width());
  ensure(d_qkv_, compute_, qkv_width());
  ensure(dx_, compute_, config_.hidden_size);
  workspace_.d_normed = cut(d_normed_);
  workspace_.d_hidden = cut(d_hidden_);
  workspace_.d_attended = cut(d_attended_);
  workspace_.d_qkv = cut(d_qkv_);
}

View Activations::input(int64_t index) {
  return cut(inputs_[keep_ == Keep::nothing ? 0 : static_cast<size_t>(index)]);
}

LayerActivations Activations::layer(int64_t index) {
  Kept& kept = kept_[keep_ == Keep::all ? static_cast<size_t>(index) : 0];
  LayerActivations a{.input = input(index),
                     .input_rstd = {},
                     .qkv = cut(kept.qkv),
                     .attended = cut(kept.attended),
                     .lse = {},
                     .middle = cut(kept.middle),
                     .middle_rstd = {},
                     .gate_up = cut(kept.gate_up)};
  if (keep_ != Keep::nothing) {
    const View pairs = cut(kept.rstd);
    a.input_rstd = {pairs.data, DType::f32, 1, tokens_};
    a.middle_rstd = {static_cast<float*>(pairs.data) + tokens_, DType::f32, 1, tokens_};
    a.lse = cut(kept.lse);
  }
  return a;
}

size_t Activations::size_bytes() const {
  size_t bytes = 0;
  const auto add = [&](std::initializer_list<const Tensor*> blocks) {
    for (const Tensor* block : blocks) bytes += block->size_bytes();
  };
  for (const Tensor& input : inputs_) add({&input});
  for (const Kept& k : kept_) add({&k.qkv, &k.attended, &k.middle, &k.gate_up, &k.lse, &k.rstd});
  add({&normed_, &hidden_, &final_rstd_, &d_normed_, &d_hidden_, &d_attended_, &d_qkv_, &dx_});
  return bytes;
}

}  // namespace cria
