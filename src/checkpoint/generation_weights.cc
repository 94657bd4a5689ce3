#include "checkpoint/generation_weights.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/block_types.h"

namespace cria {
namespace {

std::variant<ParamArena, PackedWeights> load(const WeightSource& source, const LlamaConfig& config,
                                             const ModelPart& part, const WeightForm& form,
                                             ThreadPool& pool, Memory* memory) {
  if (form.packed.empty()) {
    ParamArena plain(config, form.plain, part, {}, memory);
    load_parameters(source, plain, pool);
    return plain;
  }
  PackedWeights packed(config, part, form.packed, memory);
  load_parameters(source, packed, pool);
  return packed;
}

}  // namespace

std::optional<DType> parse_packed_type(const std::string& word) {
  if (word.empty() || word == "keep") return std::nullopt;
  const DType type = parse_block_type(word, "--weights (keep, bf16 or a type of blocks)");
  require(ops::PackedMatrix::takes(type),
          "--weights {} is not packed; try: bf16 or a type of blocks", word);
  return type;
}

WeightForm form_of_stored(const WeightSource& source, const LlamaConfig& config,
                          const ModelPart& part, DType plain) {
  bool blocks = false, all_bf16 = true;
  for (const Param& p : part_params(config, part)) {
    const auto index = source.find(p.name);
    if (p.is_norm() || !index) continue;
    const DType stored = source.tensors()[*index].dtype;
    blocks = blocks || is_quantised(stored);
    all_bf16 = all_bf16 && stored == DType::bf16;
  }
  const bool as_bf16 = plain == DType::bf16 || (plain == DType::f32 && all_bf16);
  if (!blocks && !as_bf16) return {.plain = plain};
  return {packed_types(source, config, part, std::nullopt, plain), plain};
}

WeightForm form_on_device(WeightForm form, const std::string& word, DType plain) {
  if (std::ranges::any_of(form.packed, is_quantised)) return form;
  return {.plain = word == "bf16" ? DType::bf16 : plain};
}

int64_t weight_bytes(const LlamaConfig& config, const ModelPart& part, const WeightForm& form) {
  int64_t bytes = 0;
  const std::vector<Param> params = part_params(config, part);
  for (size_t i = 0; i < params.size(); ++i) {
    const Param& p = params[i];
    const bool packed = !form.packed.empty() && !p.is_norm();
    bytes += packed ? ops::PackedMatrix::bytes_of(form.packed[i], p.rows(), p.cols())
                    : cria::bytes_of(form.plain, p.elements());
  }
  return bytes;
}

GenerationWeights::GenerationWeights(const WeightSource& source, const LlamaConfig& config,
                                     const ModelPart& part, const WeightForm& form,
                                     ThreadPool& pool, Memory* memory)
    : weights_(load(source, config, part, form, pool, memory)) {}

size_t GenerationWeights::size_bytes() const {
  return std::visit([](const auto& weights) { return weights.size_bytes(); }, weights_);
}

Decoder GenerationWeights::decoder(DType compute, ops::Exec& exec, Groups* groups) const {
  if (const auto* packed = std::get_if<PackedWeights>(&weights_))
    return {*packed, compute, exec, groups};
  const auto& plain = std::get<ParamArena>(weights_);
  return {plain.config(), plain, compute, exec, groups};
}

}  // namespace cria
