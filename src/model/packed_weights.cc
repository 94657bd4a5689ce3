#include "model/packed_weights.h"

#include <fmt/format.h>

#include <cstring>

#include "base/error.h"

namespace cria {

namespace {

/// Whether so many ranks can have parts of every layer, columns being divided between blocks.
bool divides(const LlamaConfig& c, std::span<const Param> params, std::span<const DType> types,
             int64_t ranks) {
  if (c.num_key_value_heads % ranks != 0 || c.num_attention_heads % ranks != 0 ||
      c.intermediate_size % ranks != 0)
    return false;
  for (size_t i = 0; i < params.size(); ++i) {
    if (params[i].tp_dim == 1 && params[i].shape[1] % (ranks * block_elements(types[i])) != 0)
      return false;
  }
  return true;
}

}  // namespace

std::optional<std::string> PackedWeights::refused_cut(const LlamaConfig& config,
                                                      const ModelPart& part,
                                                      std::span<const DType> types) {
  const std::vector<Param> params = part_params(config, part);
  check(types.size() == params.size(), "every parameter has a type");
  for (size_t i = 0; i < params.size(); ++i) {
    const Param& p = params[i];
    const int64_t block = block_elements(types[i]);
    // Rows that blocks do not divide even whole are refused by the matrix.
    if (p.tp_dim != 1 || p.cols() % block == 0 || p.shape[1] % block != 0) continue;
    std::vector<int64_t> ranks;
    for (int64_t n = 1; n <= config.num_key_value_heads; ++n)
      if (divides(config, params, types, n)) ranks.push_back(n);
    return fmt::format(
        "weights: \"{}\": {} columns for each of {} tensor-parallel ranks, expected a multiple of "
        "{} "
        "for {}; try: --weights bf16, or a model_parallel of {}",
        p.name, p.cols(), part.tp, block, name_of(types[i]), fmt::join(ranks, " or "));
  }
  return std::nullopt;
}

PackedWeights::PackedWeights(const LlamaConfig& config, const ModelPart& part,
                             std::span<const DType> types, Memory* memory)
    : config_(config),
      part_(part),
      params_(part_params(config, part)),
      index_(config, part),
      types_(types.begin(), types.end()) {
  const std::optional<std::string> refused = refused_cut(config, part, types);
  require(!refused, "{}", refused.value_or(""));
  for (size_t i = 0; i < params_.size(); ++i) {
    const Param& p = params_[i];
    if (p.is_norm()) {
      matrices_.emplace_back();
      check(is_float(types_[i]), "norms are floats");
      norms_.emplace_back(types_[i], 1, p.cols(), memory);
    } else {
      matrices_.emplace_back(types_[i], p.rows(), p.cols(), memory);
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
  std::byte* const to = norms_[at].bytes().data();
  if (Memory* const memory = norms_[at].memory(); memory != nullptr)
    return memory->write(to, rows.data(), rows.size());
  std::memcpy(to, rows.data(), rows.size());
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
