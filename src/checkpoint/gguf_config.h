// A Llama's config from and to GGUF metadata.
#pragma once

#include "formats/gguf.h"
#include "model/config.h"

namespace cria {

/// Throws FormatError when the architecture is not llama or a key is missing or out of range.
LlamaConfig config_from_gguf(const GgufReader& file);

/// llama.cpp's number for a file whose matrices are mostly of this type (general.file_type).
uint32_t gguf_file_type(DType mostly);

/// general.* and llama.* keys as llama.cpp writes them; the tokenizer's keys are the caller's.
GgufMetadata gguf_config_metadata(const LlamaConfig& config, DType stored, const std::string& name);

/// Llama 3.1's stretched wave lengths travel as a tensor `rope_freqs.weight` of head_dim / 2 divisors; empty for other kinds.
std::vector<float> gguf_rope_divisors(const LlamaConfig& config);

}  // namespace cria
