// Weights loaded for generation, in the form that --weights and --dtype ask for.
#pragma once

#include <string>

#include "checkpoint/generation_weights.h"
#include "generate/memory_nodes.h"
#include "ops/device.h"

namespace cria::cli {

/// The weights, and what is computed beside them.
struct LoadedModel {
  GenerationWeights weights;
  DType compute = DType::bf16;
  DType cache = DType::bf16;

  [[nodiscard]] Decoder decoder(ops::Exec& exec, Groups* groups) const {
    return weights.decoder(compute, exec, groups);
  }
};

/// What --weights and --dtype say: how weights are held, what is computed beside them, and of which type caches are.
struct ModelForm {
  WeightForm weights;
  DType compute = DType::bf16, cache = DType::bf16;
};

/// `weights`: "keep" (blocks of few bits stay as they are, all else becomes bf16), "bf16", or a type of blocks such as "q4_0", into
/// which matrices are rounded while loading; "" is "keep" without a dtype. `dtype`: "fp32", "bf16" or "fp16", "" chooses: fp32
/// beside blocks. With a dtype and no `weights` they are held plain in it. Throws UsageError for other words.
ModelForm form_for_generation(const WeightSource& source, const LlamaConfig& config,
                              const std::string& weights, const std::string& dtype);
/// The same, or on a GPU (`device`): only blocks are packed there, a dtype that is not named is bf16, and caches, --cache_dtype, are
/// of the same or another dtype but not of 8 bits. Throws UsageError for what asks otherwise.
ModelForm form_for_generation(const WeightSource& source, const LlamaConfig& config,
                              const std::string& weights, const std::string& dtype,
                              const std::string& cache, const ops::Device* device);
/// A shard's part in that form; `memory`: a device's, or null.
LoadedModel load_for_generation(const WeightSource& source, const LlamaConfig& config,
                                const ModelForm& form, const Shard& shard,
                                Memory* memory = nullptr);

/// Of caches: "int8", a compute type's name, or "" for `otherwise`. Throws UsageError for other words.
DType cache_type(const std::string& word, DType otherwise);
constexpr const char* kCacheHelp =
    "type of the cached keys and values: fp32, bf16, fp16 or int8; by default bf16 (fp16 beside "
    "fp16)";

}  // namespace cria::cli
