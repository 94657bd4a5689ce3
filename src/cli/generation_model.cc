#include "cli/generation_model.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "checkpoint/convert.h"
#include "cli/default_dtype.h"

namespace cria::cli {
ModelForm form_for_generation(const WeightSource& source, const LlamaConfig& config,
                              const std::string& weights, const std::string& dtype) {
  const std::optional<DType> matrices = parse_packed_type(weights);
  DType compute = dtype.empty() ? DType::bf16 : parse_dtype(dtype, "--dtype");
  WeightForm form{.plain = compute};
  if (dtype.empty() || !weights.empty()) {
    form.packed = packed_types(source, config, whole_model(config), matrices);
    if (dtype.empty()) compute = dtype_beside(form.packed, compute);
  }
  DType cache = compute;
  if (!form.packed.empty()) cache = compute == DType::f16 ? DType::f16 : DType::bf16;
  return {std::move(form), compute, cache};
}

ModelForm form_for_generation(const WeightSource& source, const LlamaConfig& config,
                              const std::string& weights, const std::string& dtype,
                              const std::string& cache, const ops::Device* device) {
  ModelForm form = form_for_generation(source, config, weights, dtype);
  if (device == nullptr) return form;
  form.compute = dtype.empty() ? DType::bf16 : parse_dtype(dtype, "--dtype");
  form.weights = form_on_device(std::move(form.weights), weights, form.compute);
  form.cache = cache_type(cache, form.compute);
  return form;
}

LoadedModel load_for_generation(const WeightSource& source, const LlamaConfig& config,
                                const ModelForm& form, const Shard& shard, Memory* memory) {
  // A shard has slices of all parameters, in the whole model's order: so have the types.
  return {GenerationWeights(source, config, shard.part(config), form.weights, shard.pool, memory),
          form.compute, form.cache};
}

DType cache_type(const std::string& word, DType otherwise) {
  if (word.empty()) return otherwise;
  if (word == "int8") return DType::i8;
  const bool known = std::ranges::count(std::array{"fp32", "bf16", "fp16"}, word) > 0;
  require(known, "--cache_dtype is \"{}\", expected fp32, bf16, fp16 or int8", escaped(word));
  return parse_dtype(word, "--cache_dtype");
}

}  // namespace cria::cli
