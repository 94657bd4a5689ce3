#include "cli/open_model.h"

#include "base/file.h"

namespace cria::cli {

OpenedModel open_model(const std::string& path, const std::string& config_path) {
  std::optional<LlamaConfig> given;
  if (!config_path.empty()) given = parse_hf_config(read_text(config_path), config_path);
  WeightSource source = WeightSource::open(path, given);
  LlamaConfig config = source.config();
  if (!source.config_is_own() && !config.tie_word_embeddings)
    config.tie_word_embeddings = looks_tied(source);
  return {std::move(source), std::move(config)};
}

}  // namespace cria::cli
