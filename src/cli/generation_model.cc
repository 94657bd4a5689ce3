#include "cli/generation_model.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "checkpoint/block_types.h"
#include "checkpoint/convert.h"
#include "cli/default_dtype.h"

namespace cria::cli {
namespace {

/// The type that all matrices are to have; nothing for keep.
std::optional<DType> matrices_of(const std::string& weights) {
  if (weights.empty() || weights == "keep") return std::nullopt;
  const DType type = parse_block_type(weights, "--weights (keep, bf16 or a type of blocks)");
  require(ops::PackedMatrix::takes(type),
          "--weights {} is not packed; try: bf16, or --dtype without --weights", weights);
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
  if (dtype.empty()) model.compute = dtype_beside(types, model.compute);
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
