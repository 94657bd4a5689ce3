#include "cli/generation_model.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "checkpoint/convert.h"

namespace cria::cli {
namespace {

/// The type that all matrices are to have; nothing for keep.
std::optional<DType> matrices_of(const std::string& weights) {
  if (weights.empty() || weights == "keep") return std::nullopt;
  std::string name = weights;
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  });
  const auto type = dtype_from_name(name);
  require(
      type && ops::PackedMatrix::takes(*type),
      "--weights is \"{}\", expected keep, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k or q6_k",
      escaped(weights));
  return type;
}

}  // namespace

Decoder LoadedModel::decoder(ops::Exec& exec) const {
  if (packed) return {*packed, compute, exec};
  return {plain->config(), *plain, compute, exec};
}

size_t LoadedModel::weight_bytes() const {
  return packed ? packed->size_bytes() : plain->size_bytes();
}

LoadedModel load_for_generation(const WeightSource& source, const LlamaConfig& config,
                                const std::string& weights, const std::string& dtype,
                                ThreadPool& pool) {
  LoadedModel model;
  const std::optional<DType> matrices = matrices_of(weights);
  if (!dtype.empty()) model.compute = parse_dtype(dtype, "--dtype");
  if (!dtype.empty() && weights.empty()) {
    model.cache = model.compute;
    model.plain.emplace(config, model.compute);
    load_parameters(source, *model.plain, pool);
    return model;
  }
  const std::vector<DType> types = packed_types(source, config, matrices);
  if (dtype.empty() && std::ranges::any_of(types, is_quantised)) model.compute = DType::f32;
  model.cache = model.compute == DType::f16 ? DType::f16 : DType::bf16;
  model.packed.emplace(config, types);
  load_parameters(source, *model.packed, pool);
  return model;
}

DType cache_type(const std::string& word, DType otherwise) {
  if (word.empty()) return otherwise;
  if (word == "int8") return DType::i8;
  const bool known = std::ranges::count(std::array{"fp32", "bf16", "fp16"}, word) > 0;
  require(known, "--cache_dtype is \"{}\", expected fp32, bf16, fp16 or int8", escaped(word));
  return parse_dtype(word, "--cache_dtype");
}

}  // namespace cria::cli
