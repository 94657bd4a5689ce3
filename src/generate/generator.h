// Prompts in, new tokens out: prefill each, then decode all together.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/groups.h"
#include "generate/sampling.h"
#include "model/llama.h"

namespace cria {

struct GenerateSettings {
  int64_t max_new_tokens = 256;
  /// Prompt and new tokens together; cut to the model's context. 0: only max_new_tokens counts.
  int64_t max_length = 0;
  std::vector<int32_t> eos_ids;
  SamplingSettings sampling;
  DType compute = DType::bf16;
  /// Of the caches; by default that of the computation.
  std::optional<DType> cache;
  /// How many sequences decode together.
  int64_t batch_size = 8;
  /// Of the ranks that have the model together (its matrices' slices, its layers in stages) and make the same call; null for one.
  /// The last stage's first rank chooses the tokens, and all have them. Data-parallel ranks make calls of their own.
  Groups* groups = nullptr;
};

struct Generated {
  std::vector<int32_t> ids;  // new tokens, the ending one included
  bool ended = false;        // by an eos id, not by length
};

struct GenerateTiming {
  int64_t prompt_tokens = 0, new_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

/// Called for every new token, in the order they are made.
using TokenCall = std::function<void(size_t prompt, int32_t token)>;

/// Each prompt's result is the same alone and with others. An empty prompt, an id outside the vocabulary, and a prompt longer
/// than the context or max_length throw UsageError before any work; a prompt of exactly that length gives no new token.
std::vector<Generated> generate(Decoder& decoder, std::span<const std::vector<int32_t>> prompts,
                                const GenerateSettings& settings, const TokenCall& on_token = {},
                                GenerateTiming* timing = nullptr);
/// The same with weights in an arena: `weights` are what the rank holds.
std::vector<Generated> generate(const LlamaConfig& config, const ParamArena& weights,
                                std::span<const std::vector<int32_t>> prompts,
                                const GenerateSettings& settings, ops::Exec& exec,
                                const TokenCall& on_token = {}, GenerateTiming* timing = nullptr);

}  // namespace cria
