// Carrying a tokenizer along when weights are exported.
#pragma once

#include <string>

#include "formats/gguf.h"
#include "tokenizer/tokenizer.h"

namespace cria::cli {

/// tokenizer.ggml.* as llama.cpp reads them.
GgufMetadata gguf_tokenizer_keys(const Vocabulary& vocabulary);
/// tokenizer.json and tokenizer_config.json.
void write_hugging_face_tokenizer(const Vocabulary& vocabulary, const std::string& folder);

}  // namespace cria::cli
