// Opening the weights that --model names, as every command that computes with them does.
#pragma once

#include <string>

#include "checkpoint/weight_source.h"

namespace cria::cli {

struct OpenedModel {
  WeightSource source;
  LlamaConfig config;
};

/// `config_path` is --config, used where the weights carry no configuration; may be empty. Such weights
/// also count as tied when their head is missing or equals the embedding. Throws as WeightSource::open.
OpenedModel open_model(const std::string& path, const std::string& config_path);

/// Throws MismatchError unless every parameter of the config is there in its shape; loading checks the same and more, but
/// a conversion passes rows through.
void check_shapes(const WeightSource& source, const LlamaConfig& config);

}  // namespace cria::cli
