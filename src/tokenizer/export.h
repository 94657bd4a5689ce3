// A vocabulary for other programs: the files of a Hugging Face folder, and the keys of a GGUF.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace cria {

/// tokenizer.json as Hugging Face's tokenizers library reads it.
std::string tokenizer_json(const Vocabulary& vocabulary);
/// tokenizer_config.json: names of bos, eos and pad, the chat template.
std::string tokenizer_config_json(const Vocabulary& vocabulary);
/// special_tokens_map.json: the same names.
std::string special_tokens_map_json(const Vocabulary& vocabulary);

/// Each file whole or not at all. Throws IoError.
void save_tokenizer_json(const Vocabulary& vocabulary, const std::string& path);
/// The three files above in an existing folder.
void save_hf_tokenizer(const Vocabulary& vocabulary, const std::string& folder);

/// What stands under tokenizer.ggml.* in a GGUF.
struct GgufVocabulary {
  std::string model = "gpt2";             // tokenizer.ggml.model
  std::string pre;                        // .pre: llama-bpe, smollm, gpt-2
  std::vector<std::string> tokens;        // .tokens: byte-level text; specials as they are
  std::vector<int32_t> token_types;       // .token_type: 1 normal, 3 control
  std::vector<std::string> merges;        // .merges: "left right", byte-level
  std::optional<uint32_t> bos, eos, pad;  // .bos_token_id, .eos_token_id, .padding_token_id
  std::optional<uint32_t> eot;            // .eot_token_id: first end_of_turn id
  bool add_bos = false;                   // .add_bos_token
  std::string chat_template;              // tokenizer.chat_template; empty: leave it out
};
GgufVocabulary gguf_vocabulary_metadata(const Vocabulary& vocabulary);

}  // namespace cria
