// Opening the weights that --model names, as every command that computes with them does.
#pragma once

#include <string>

#include "checkpoint/weight_source.h"

namespace cria::cli {

struct OpenedModel {
  WeightSource source;
  LlamaConfig config;
};

/// Weights of any format; with `src_strategy` (--src_strategy, may be empty) the .ckpt slices of several ranks below `path`.
WeightSource open_source(const std::string& path, const std::string& src_strategy,
                         const std::optional<LlamaConfig>& config);

/// `config_path` is --config, used where the weights carry no configuration; may be empty. Such weights
/// also count as tied when their head is missing or equals the embedding. Throws as WeightSource::open.
OpenedModel open_model(const std::string& path, const std::string& config_path,
                       const std::string& src_strategy);
/// What --src_strategy says of itself.
inline constexpr const char* kSrcStrategyHelp =
    "how the rank_N/*.ckpt slices of several ranks lie: their strategy files, or a folder of them";

/// The shape that --random names: a known one, or the one of a config.json. Throws UsageError for other words, FormatError.
LlamaConfig shape_named(const std::string& word);

/// Throws MismatchError unless every parameter of the config is there in its shape; loading checks the same and more, but
/// a conversion passes rows through.
void check_shapes(const WeightSource& source, const LlamaConfig& config);

}  // namespace cria::cli
