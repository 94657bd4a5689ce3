// Carrying a tokenizer along when weights are exported.
#pragma once

#include <optional>
#include <string>

#include "formats/gguf.h"
#include "tokenizer/tokenizer.h"

namespace cria::cli {

/// The vocabulary beside or inside weights, when there is one; nothing when there is none at that path.
std::optional<Vocabulary> find_vocabulary(const std::string& path);
/// tokenizer.ggml.* as llama.cpp reads them.
GgufMetadata gguf_tokenizer_keys(const Vocabulary& vocabulary);
/// tokenizer.json and tokenizer_config.json.
void write_hugging_face_tokenizer(const Vocabulary& vocabulary, const std::string& folder);

}  // namespace cria::cli
