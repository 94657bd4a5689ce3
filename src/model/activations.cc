#include "model/activations.h"

#include <algorithm>
#include <initializer_list>

namespace cria {
namespace {

/// At least `rows` of `cols`.
void ensure(Tensor& block, DType dtype, int64_t rows, int64_t cols, Memory* memory) {
  if (block.rows() >= rows) return;
  block = {};  // the old memory goes before the new comes
  block = Tensor(dtype, rows, cols, memory);
}

int64_t attended_width(const LlamaConfig& c) { return c.num_attention_heads * c.head_dim; }
int64_t qkv_width(const LlamaConfig& c) {
  return (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim;
}

void ensure_gate_up(KeptBlocks& kept, const LlamaConfig& c, DType compute, Extent extent,
                    Memory* memory) {
  ensure(kept.gate_up, compute, extent.tokens, 2 * c.intermediate_size, memory);
}
void ensure_others(KeptBlocks& kept, const LlamaConfig& c, DType compute, Extent extent, Keep keep,
                   Memory* memory) {
  ensure(kept.qkv, compute, extent.tokens, qkv_width(c), memory);
  ensure(kept.attended, compute, extent.tokens, attended_width(c), memory);
  ensure(kept.middle, compute, extent.rows, c.hidden_size, memory);
  if (keep == Keep::nothing) return;
  ensure(kept.lse, DType::f32, extent.tokens, c.num_attention_heads, memory);
  ensure(kept.rstd, DType::f32, extent.rows, 2, memory);
}

View front(Tensor& block, int64_t rows) { return block.view().row_range(0, rows); }

size_t bytes_in(std::initializer_list<const Tensor*> blocks) {
  size_t bytes = 0;
  for (const Tensor* block : blocks) bytes += block->size_bytes();
  return bytes;
}
size_t bytes_in(const KeptBlocks& k) {
  return bytes_in({&k.qkv, &k.attended, &k.middle, &k.gate_up, &k.lse, &k.rstd});
}

/// What ensure_gate_up() and ensure_others() make room for.
int64_t gate_up_bytes(const LlamaConfig& c, DType compute, Extent extent) {
  return bytes_of(compute, extent.tokens * 2 * c.intermediate_size);
}
int64_t other_bytes(const LlamaConfig& c, DType compute, Extent extent, Keep keep) {
  const int64_t blocks =
      extent.tokens * (qkv_width(c) + attended_width(c)) + extent.rows * c.hidden_size;
  const int64_t sums = extent.tokens * c.num_attention_heads + extent.rows * 2;
  return bytes_of(compute, blocks) + (keep == Keep::nothing ? 0 : bytes_of(DType::f32, sums));
}

}  // namespace

void Workspace::prepare(Extent extent, Keep keep, Recompute most) {
  extent_ = extent;
  Memory* const memory = memory_;
  const auto [tokens, rows] = extent;
  ensure(normed_, compute_, rows, config_.hidden_size, memory);
  ensure(hidden_, compute_, tokens, config_.intermediate_size, memory);
  views_.normed = front(normed_, rows);
  views_.hidden = front(hidden_, tokens);
  if (rows != tokens) {
    ensure(whole_, compute_, tokens, config_.hidden_size, memory);
    views_.whole = front(whole_, tokens);
  }
  if (keep == Keep::nothing) most = Recompute::full;
  if (most != Recompute::none) ensure_gate_up(shared_, config_, compute_, extent, memory);
  if (most == Recompute::full) ensure_others(shared_, config_, compute_, extent, keep, memory);
  if (keep == Keep::nothing) return;
  ensure(d_normed_, compute_, rows, config_.hidden_size, memory);
  ensure(d_hidden_, compute_, tokens, config_.intermediate_size, memory);
  ensure(d_attended_, compute_, tokens, attended_width(config_), memory);
  ensure(d_qkv_, compute_, tokens, qkv_width(config_), memory);
  ensure(dx_, compute_, rows, config_.hidden_size, memory);
  if (rows != tokens) ensure(head_dx_, compute_, tokens, config_.hidden_size, memory);
  views_.d_normed = front(d_normed_, rows);
  views_.d_hidden = front(d_hidden_, tokens);
  views_.d_attended = front(d_attended_, tokens);
  views_.d_qkv = front(d_qkv_, tokens);
}

size_t Workspace::size_bytes() const {
  return bytes_in(shared_) + bytes_in({&normed_, &whole_, &hidden_, &d_normed_, &d_hidden_,
                                       &d_attended_, &d_qkv_, &dx_, &head_dx_});
}

int64_t Workspace::bytes_for(const LlamaConfig& c, DType compute, Extent extent, Keep keep,
                             Recompute most) {
  const auto [tokens, rows] = extent;
  const bool scattered = rows != tokens, backward = keep != Keep::nothing;
  int64_t elements = rows * c.hidden_size + tokens * c.intermediate_size;  // normed, hidden
  if (scattered) elements += tokens * c.hidden_size;                       // whole
  if (backward) {
    elements += 2 * rows * c.hidden_size +  // d_normed, dx
                tokens * (c.intermediate_size + attended_width(c) + qkv_width(c));
    if (scattered) elements += tokens * c.hidden_size;  // head_dx
  } else {
    most = Recompute::full;
  }
  return bytes_of(compute, elements) +
         (most == Recompute::none ? 0 : gate_up_bytes(c, compute, extent)) +
         (most == Recompute::full ? other_bytes(c, compute, extent, keep) : 0);
}

void Activations::prepare(Extent extent, Keep keep) {
  extent_ = extent;
  keep_ = keep;
  const LlamaConfig& config = workspace_->config();
  const DType compute = workspace_->compute();
  Memory* const memory = workspace_->memory();
  prepare_workspace();
  const size_t inputs = keep == Keep::nothing ? 1 : recompute_.size() + 1;
  inputs_.resize(std::max(inputs_.size(), inputs));
  for (size_t i = 0; i < inputs; ++i)
    ensure(inputs_[i], compute, extent.rows, config.hidden_size, memory);
  if (keep == Keep::nothing) return;
  ensure(final_rstd_, DType::f32, extent.rows, 1, memory);
  kept_.resize(recompute_.size());
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (recompute_[i] == Recompute::full) continue;
    ensure_others(kept_[i], config, compute, extent, keep, memory);
    if (recompute_[i] == Recompute::none) ensure_gate_up(kept_[i], config, compute, extent, memory);
  }
}

void Activations::prepare_workspace() {
  const Recompute most =
      recompute_.empty() ? Recompute::none : *std::ranges::max_element(recompute_);
  workspace_->prepare(extent_, keep_, most);
}

View Activations::input(int64_t i) {
  return front(inputs_[keep_ == Keep::nothing ? 0 : static_cast<size_t>(i)], extent_.rows);
}

LayerActivations Activations::layer(int64_t i) {
  KeptBlocks& shared = workspace_->shared();
  const Recompute again = keep_ == Keep::nothing ? Recompute::full : recompute(i);
  KeptBlocks& kept = again == Recompute::full ? shared : kept_[static_cast<size_t>(i)];
  Tensor& gate_up = again == Recompute::none ? kept.gate_up : shared.gate_up;
  LayerActivations a{.input = input(i),
                     .input_rstd = {},
                     .qkv = front(kept.qkv, extent_.tokens),
                     .attended = front(kept.attended, extent_.tokens),
                     .lse = {},
                     .middle = front(kept.middle, extent_.rows),
                     .middle_rstd = {},
                     .gate_up = front(gate_up, extent_.tokens)};
  if (keep_ != Keep::nothing) {
    auto* const pairs = kept.rstd.span<float>().data();
    a.input_rstd = {pairs, DType::f32, 1, extent_.rows};
    a.middle_rstd = {pairs + extent_.rows, DType::f32, 1, extent_.rows};
    a.lse = front(kept.lse, extent_.tokens);
  }
  return a;
}

int64_t Activations::bytes_for(const LlamaConfig& c, DType compute, Extent extent,
                               std::span<const Recompute> recompute) {
  int64_t bytes = bytes_of(compute, (std::ssize(recompute) + 1) * extent.rows * c.hidden_size) +
                  bytes_of(DType::f32, extent.rows);
  for (const Recompute again : recompute) {
    if (again == Recompute::none) bytes += gate_up_bytes(c, compute, extent);
    if (again != Recompute::full) bytes += other_bytes(c, compute, extent, Keep::for_backward);
  }
  return bytes;
}

size_t Activations::size_bytes() const {
  size_t bytes = final_rstd_.size_bytes();
  for (const Tensor& input : inputs_) bytes += input.size_bytes();
  for (const KeptBlocks& kept : kept_) bytes += bytes_in(kept);
  return bytes;
}

}  // namespace cria
