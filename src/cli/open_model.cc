#include "cli/open_model.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "model/params.h"

namespace cria::cli {

WeightSource open_source(const std::string& path, const std::string& src_strategy,
                         const std::optional<LlamaConfig>& config) {
  Strategy strategy = read_strategy(src_strategy);
  return strategy.full ? WeightSource::open(path, config)
                       : WeightSource::open_slices(path, std::move(strategy), config);
}

OpenedModel open_model(const std::string& path, const std::string& config_path,
                       const std::string& src_strategy) {
  std::optional<LlamaConfig> given;
  if (!config_path.empty()) given = parse_hf_config(read_text(config_path), config_path);
  WeightSource source = open_source(path, src_strategy, given);
  LlamaConfig config = source.config();
  if (!source.config_is_own() && !config.tie_word_embeddings)
    config.tie_word_embeddings = looks_tied(source);
  return {std::move(source), std::move(config)};
}

LlamaConfig shape_named(const std::string& word) {
  return is_file(word) ? parse_hf_config(read_text(word), word) : named_config(word);
}

void check_shapes(const WeightSource& source, const LlamaConfig& config) {
  for (const Param& p : llama_params(config)) {
    const auto index = source.find(p.name);
    require<MismatchError>(index.has_value(), "weights: {}: no \"{}\", which the config expects",
                           source.path(), p.name);
    const std::vector<int64_t>& shape = source.tensors()[*index].shape;
    require<MismatchError>(shape == p.shape,
                           "weights: {}: \"{}\" has another shape than the config says, expected "
                           "[{}], found [{}]",
                           source.path(), p.name, fmt::join(p.shape, ", "), fmt::join(shape, ", "));
  }
  const int64_t next = config.num_hidden_layers;
  require<MismatchError>(!source.find(fmt::format("model.layers.{}.input_layernorm.weight", next)),
                         "weights: {}: has more layers than the {} of the config", source.path(),
                         next);
}

}  // namespace cria::cli
