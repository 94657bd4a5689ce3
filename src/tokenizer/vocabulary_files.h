// One parser per kind of vocabulary file, from memory. load.h picks among them; fuzz targets and
// tests call them directly. All throw FormatError naming `path`, and answer with a vocabulary that
// passed check_vocabulary and carries its fingerprint.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace cria {

class GgufReader;

/// Lines `base64 rank`, ranks 0..n-1 in order, at most 16 MiB; blank lines are skipped. The 256
/// special tokens of Llama 3.0 follow at n.
Vocabulary parse_tiktoken(std::string_view bytes, const std::string& path);

/// Whether this is a SentencePiece model (protobuf), the vocabulary of Llama 1 and 2.
bool looks_like_sentencepiece(std::string_view bytes);

/// Byte-level BPE as Llama 3 and SmolLM2 have it; bos, eos, pad and the chat template stand in
/// other files (see read_tokenizer_settings).
Vocabulary parse_tokenizer_json(std::string_view bytes, const std::string& path);

/// tokenizer_config.json, special_tokens_map.json, generation_config.json and chat_template.jinja of
/// `folder`, where they exist.
void read_tokenizer_settings(const std::string& folder, Vocabulary& vocabulary);
/// The text of tokenizer_config.json or special_tokens_map.json: special tokens by their text.
void parse_tokenizer_config(std::string_view text, const std::string& path, Vocabulary& vocabulary);
/// The text of generation_config.json: special tokens by id. Answers the ids that end a reply.
std::vector<TokenId> parse_generation_config(std::string_view text, const std::string& path,
                                             Vocabulary& vocabulary);

/// tokenizer.ggml.* of the kinds `llama-bpe`, `smollm` and `gpt-2`.
Vocabulary read_gguf_vocabulary(const GgufReader& gguf);

/// The special tokens that follow the ranks of a Llama 3.0 tokenizer.model, in order.
std::vector<std::string> llama3_special_tokens();

/// Turns merges given as text into ids; `merges` are pairs of raw bytes. `vocabulary` has its
/// pieces. Then checks the whole and sets the fingerprint.
void finish_vocabulary(Vocabulary& vocabulary,
                       const std::vector<std::pair<std::string, std::string>>& merges);

}  // namespace cria
