#include "cli/tokenizer_files.h"

#include "tokenizer/export.h"

namespace cria::cli {

GgufMetadata gguf_tokenizer_keys(const Vocabulary& vocabulary) {
  GgufVocabulary v = gguf_vocabulary_metadata(vocabulary);
  GgufMetadata keys = {
      {"tokenizer.ggml.model", v.model},
      {"tokenizer.ggml.pre", v.pre},
      {"tokenizer.ggml.tokens", std::move(v.tokens)},
      {"tokenizer.ggml.token_type", std::move(v.token_types)},
      {"tokenizer.ggml.merges", std::move(v.merges)},
  };
  if (v.bos) keys.emplace_back("tokenizer.ggml.bos_token_id", *v.bos);
  if (v.eos) keys.emplace_back("tokenizer.ggml.eos_token_id", *v.eos);
  if (v.pad) keys.emplace_back("tokenizer.ggml.padding_token_id", *v.pad);
  if (v.eot) keys.emplace_back("tokenizer.ggml.eot_token_id", *v.eot);
  keys.emplace_back("tokenizer.ggml.add_bos_token", v.add_bos);
  if (!v.chat_template.empty()) keys.emplace_back("tokenizer.chat_template", v.chat_template);
  return keys;
}

void write_hugging_face_tokenizer(const Vocabulary& vocabulary, const std::string& folder) {
  save_hf_tokenizer(vocabulary, folder);
}

}  // namespace cria::cli
