#include "model/model_part.h"

#include <numeric>

#include "base/error.h"

namespace cria {

ModelPart whole_model(const LlamaConfig& config) {
  ModelPart part;
  part.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  std::iota(part.layers.begin(), part.layers.end(), 0);
  return part;
}

std::vector<LayerRun> runs_of(const ModelPart& part) {
  std::vector<LayerRun> runs;
  for (const int64_t layer : part.layers) {
    if (runs.empty() || runs.back().first + runs.back().count != layer)
      runs.push_back({.first = layer, .count = 0, .embedding = false, .head = false});
    ++runs.back().count;
  }
  check(!runs.empty(), "a rank has layers");
  runs.front().embedding = part.embedding;
  runs.back().head = part.head;
  return runs;
}

void check_split(const LlamaConfig& config, const ModelPart& part) {
  const auto divides = [&](int64_t size, std::string_view what) {
    require(size % part.tp == 0,
            "{} = {} does not divide by {} tensor-parallel ranks; try: a model_parallel that "
            "divides it",
            what, size, part.tp);
  };
  divides(config.num_attention_heads, "num_attention_heads");
  divides(config.num_key_value_heads, "num_key_value_heads");
  divides(config.intermediate_size, "intermediate_size");
  if (part.vocab_split) divides(config.vocab_size, "vocab_size");
}

LlamaConfig local_config(const LlamaConfig& config, const ModelPart& part) {
  LlamaConfig local = config;
  local.num_attention_heads /= part.tp;
  local.num_key_value_heads /= part.tp;
  local.intermediate_size /= part.tp;
  local.num_hidden_layers = std::ssize(part.layers);
  if (part.vocab_split) local.vocab_size /= part.tp;
  return local;
}

}  // namespace cria
