// A file of plain text as a model's tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/weight_source.h"

namespace cria::cli {

/// At most `limit` tokens of the text (0: all), by the vocabulary file, or "" for the one beside or inside the weights. `command`
/// and `model` are for messages. Throws UsageError where there is no vocabulary or a token is outside the model's.
std::vector<int32_t> tokens_of_text(const std::string& text, const std::string& vocab_file,
                                    const WeightSource& source, const LlamaConfig& config,
                                    int64_t limit, const std::string& command);

}  // namespace cria::cli
