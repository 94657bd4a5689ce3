#include "model/packed_weights.h"

#include <cstring>

#include "base/error.h"

namespace cria {

PackedWeights::PackedWeights(const LlamaConfig& config, std::span<const DType> types)
    : config_(config),
      params_(llama_params(config)),
      index_(config),
      types_(types.begin(), types.end()) {
  check(types_.size() == params_.size(), "every parameter has a type");
  for (size_t i = 0; i < params_.size(); ++i) {
    const Param& p = params_[i];
    if (p.is_norm()) {
      matrices_.emplace_back();
      check(is_float(types_[i]), "norms are floats");
      norms_.emplace_back(types_[i], 1, p.cols());
    } else {
      matrices_.emplace_back(types_[i], p.rows(), p.cols());
      norms_.emplace_back();
    }
  }
}

size_t PackedWeights::size_bytes() const {
  size_t bytes = 0;
  for (const ops::PackedMatrix& m : matrices_) bytes += m.size_bytes();
  for (const Tensor& n : norms_) bytes += n.size_bytes();
  return bytes;
}

void PackedWeights::put_rows(int64_t i, int64_t first, std::span<const std::byte> rows) {
  const auto at = static_cast<size_t>(i);
  if (!params_[at].is_norm()) return matrices_[at].put_rows(first, rows);
  check(rows.size() == norms_[at].size_bytes(), "a norm is put whole");
  std::memcpy(norms_[at].bytes().data(), rows.data(), rows.size());
}

LayerViews<Weight> PackedWeights::layer(int64_t l) const {
  const auto packed = [&](std::initializer_list<int64_t> params) {
    std::vector<const ops::PackedMatrix*> all;
    for (const int64_t i : params) all.push_back(&matrix(i));
    return Weight(std::move(all));
  };
  return {packed({index_.q_proj(l), index_.k_proj(l), index_.v_proj(l)}),
          packed({index_.o_proj(l)}),
          packed({index_.gate_proj(l), index_.up_proj(l)}),
          packed({index_.down_proj(l)}),
          norms_[static_cast<size_t>(index_.input_layernorm(l))].view(),
          norms_[static_cast<size_t>(index_.post_attention_layernorm(l))].view()};
}

}  // namespace cria
