// The weights of a model, or of a rank's part of it, for generation only: matrices packed, each with the type it is stored in or another of fewer bits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/layer_weights.h"
#include "model/params.h"
#include "model/weight.h"
#include "ops/packed.h"

namespace cria {

class PackedWeights {
 public:
  /// `types`: of each parameter of part_params(config, part); a norm's is f32, f16 or bf16. Throws UsageError where a matrix cannot
  /// be packed as that, or as refused_cut() says. `memory`: a device's, or null for the host's.
  PackedWeights(const LlamaConfig& config, const ModelPart& part, std::span<const DType> types,
                Memory* memory = nullptr);
  PackedWeights(const LlamaConfig& config, std::span<const DType> types)
      : PackedWeights(config, whole_model(config), types) {}

  /// Why a part cannot be packed in such types, as a sentence, or nothing: columns are divided between whole blocks only.
  static std::optional<std::string> refused_cut(const LlamaConfig& config, const ModelPart& part,
                                                std::span<const DType> types);

  [[nodiscard]] const LlamaConfig& config() const { return config_; }  // of the whole model
  [[nodiscard]] const ModelPart& part() const { return part_; }
  [[nodiscard]] const ParamIndex& index() const { return index_; }
  [[nodiscard]] const std::vector<Param>& params() const { return params_; }
  [[nodiscard]] DType type(int64_t param) const { return types_[static_cast<size_t>(param)]; }
  [[nodiscard]] size_t size_bytes() const;
  /// Rows [first, ...) of parameter i, in the bytes of its type. Threads may put different rows (PackedMatrix::put_rows()) at the same time.
  void put_rows(int64_t i, int64_t first, std::span<const std::byte> rows);

  /// Numbered as in the whole model.
  [[nodiscard]] LayerViews<Weight> layer(int64_t l) const;
  [[nodiscard]] ConstView norm() const { return norms_[static_cast<size_t>(index_.norm())].view(); }
  [[nodiscard]] const ops::PackedMatrix& lm_head() const { return matrix(index_.lm_head()); }
  [[nodiscard]] const ops::PackedMatrix& embed_tokens() const {
    return matrix(index_.embed_tokens());
  }

 private:
  [[nodiscard]] const ops::PackedMatrix& matrix(int64_t i) const {
    return matrices_[static_cast<size_t>(i)];
  }
  LlamaConfig config_;
  ModelPart part_;
  std::vector<Param> params_;
  ParamIndex index_;
  std::vector<DType> types_;
  std::vector<ops::PackedMatrix> matrices_;  // one entry a parameter; empty for norms
  std::vector<Tensor> norms_;                // and the other way round
};

}  // namespace cria
