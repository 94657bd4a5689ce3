// A layer's parameters as the layer multiplies with them, and where they come from.
#pragma once

#include <cstdint>
#include <optional>

#include "comm/comm.h"
#include "model/params.h"

namespace cria {

/// Windows on weights or gradients of one decoder layer; q, k, v together, and gate and up.
template <class V>
struct LayerViews {
  V qkv_proj, o_proj, gate_up_proj, down_proj, input_layernorm, post_attention_layernorm;

  /// The same of a type that each window converts to.
  template <class Other>
  [[nodiscard]] LayerViews<Other> as() const {
    return {qkv_proj, o_proj, gate_up_proj, down_proj, input_layernorm, post_attention_layernorm};
  }
};

template <class Arena>
auto layer_views(Arena& arena, int64_t layer) {
  const ParamIndex& index = arena.index();
  return LayerViews<decltype(arena[0])>{arena.qkv_proj(layer),
                                        arena[index.o_proj(layer)],
                                        arena.gate_up_proj(layer),
                                        arena[index.down_proj(layer)],
                                        arena[index.input_layernorm(layer)],
                                        arena[index.post_attention_layernorm(layer)]};
}

/// The part of an arena that is one of its layers, whole: all layers have the same shapes.
ModelPart one_layer(const ParamArena& arena);

/// Whole weights of a rank's layers. Where data-parallel ranks have rows of them (OptimizerShard::zero 3), one layer at a time
/// is gathered; all ranks of the group then fetch the same layers in the same order.
class LayerWeights {
 public:
  /// `weights` and `shard`, the ranks that have the other rows, outlive the object; no group is needed for weights that are not
  /// cut.
  explicit LayerWeights(const ParamArena& weights, Comm* shard = nullptr);
  /// Where a layer's weights are after it was fetched, until the next one is.
  [[nodiscard]] LayerViews<ConstView> views(int64_t layer) const;
  void fetch(int64_t layer);
  [[nodiscard]] bool cut() const { return gathered_.has_value(); }
  [[nodiscard]] size_t size_bytes() const { return cut() ? gathered_->size_bytes() : 0; }

 private:
  void copy(ConstView from, View to) const;

  const ParamArena& weights_;
  Comm* shard_;
  std::optional<ParamArena> gathered_;
};

}  // namespace cria
