#include "model/layer_weights.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace cria {

ModelPart one_layer(const ParamArena& arena) {
  ModelPart part = arena.part();
  check(!part.layers.empty(), "a part has a layer");
  part.layers.resize(1);
  part.embedding = part.head = false;
  return part;
}

LayerWeights::LayerWeights(const ParamArena& weights, Comm* shard)
    : weights_(weights), shard_(shard) {
  const bool cut = std::ranges::any_of(weights.params(),
                                       [](const Param& p) { return p.layer >= 0 && p.sharded; });
  if (!cut) return;
  check(shard != nullptr, "cut weights are gathered from a group");
  gathered_.emplace(weights.config(), weights.dtype(), one_layer(weights), OptimizerShard(),
                    weights.memory());
}

LayerViews<ConstView> LayerWeights::views(int64_t layer) const {
  if (!cut()) return layer_views(weights_, layer);
  const ParamArena& gathered = *gathered_;
  return layer_views(gathered, gathered.part().layers.front());
}

/// Inside the memory where both lie.
void LayerWeights::copy(ConstView from, View to) const {
  Memory* const memory = gathered_->memory();
  if (memory != nullptr) return memory->copy(to.data, from.data, bytes_of(from).size());
  std::memcpy(to.data, from.data, bytes_of(from).size());
}

void LayerWeights::fetch(int64_t layer) {
  if (!cut()) return;
  const int64_t first = weights_.index().layer(layer);
  for (int64_t i = 0; i < ParamIndex::kPerLayer; ++i) {
    const ConstView mine = weights_[first + i];
    const View whole = (*gathered_)[i];
    if (weights_.params()[static_cast<size_t>(first + i)].sharded) {
      shard_->all_gather(mine, whole);
    } else {
      copy(mine, whole);
    }
  }
}

}  // namespace cria
