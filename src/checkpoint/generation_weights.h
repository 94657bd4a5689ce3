// Weights as every command holds them that generates: packed, or plain in an arena.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "checkpoint/weight_source.h"
#include "model/llama.h"
#include "model/packed_weights.h"

namespace cria {

/// How a rank's weights lie in memory.
struct WeightForm {
  /// Of each parameter of the part, where matrices are packed; empty: they lie in an arena of `plain`.
  std::vector<DType> packed;
  DType plain = DType::bf16;
};

/// What --weights says of matrices: a type that is packed ("bf16", "q4_0", ...), or nothing for "keep" and "". Throws UsageError
/// for other words.
std::optional<DType> parse_packed_type(const std::string& word);

/// Packed, where that keeps the numbers that an arena of `plain` would hold, or nearer ones: blocks as they are stored, with bf16
/// for matrices that have none; else bf16, where `plain` is bf16, or is f32 and all matrices are stored so. Norms are of `plain`.
/// Otherwise an arena.
WeightForm form_of_stored(const WeightSource& source, const LlamaConfig& config,
                          const ModelPart& part, DType plain);

/// The form on a GPU, where without blocks nothing is won by laying matrices out: they are then plain, of `plain`, or of bf16 where
/// --weights, `word`, says so.
WeightForm form_on_device(WeightForm form, const std::string& word, DType plain);

/// Bytes that such weights take.
int64_t weight_bytes(const LlamaConfig& config, const ModelPart& part, const WeightForm& form);

class GenerationWeights {
 public:
  /// `memory`: a device's, or null for the host's. Throws as load_parameters() and PackedWeights do.
  GenerationWeights(const WeightSource& source, const LlamaConfig& config, const ModelPart& part,
                    const WeightForm& form, ThreadPool& pool, Memory* memory = nullptr);

  [[nodiscard]] size_t size_bytes() const;
  /// `compute` is the dtype of activations. `groups` as for Decoder. The weights outlive the decoder.
  [[nodiscard]] Decoder decoder(DType compute, ops::Exec& exec, Groups* groups = nullptr) const;

 private:
  std::variant<ParamArena, PackedWeights> weights_;
};

}  // namespace cria
