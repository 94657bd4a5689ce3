// Vocabularies from files: tiktoken `tokenizer.model`, Hugging Face `tokenizer.json`, GGUF
// metadata.
#pragma once

#include <optional>
#include <string>

#include "tokenizer/tokenizer.h"

namespace cria {

/// Tells the kind by content, not by name. `path` is a file (tokenizer.model, tokenizer.json, a
/// GGUF) or a folder holding one of these (tokenizer.json before tokenizer.model); with
/// tokenizer.json the files tokenizer_config.json, special_tokens_map.json and
/// generation_config.json beside it are read for bos, eos, pad and the chat template. A tiktoken
/// file of n ranks gets Llama 3.0's 256 special tokens at n..n+255: bos n, eos n+1, pad n+2 (the
/// recipe's). Throws FormatError naming the file and what was wrong; a SentencePiece file is
/// recognised and refused by name.
Vocabulary load_vocabulary(const std::string& path);

/// The one of the file `given` or, where that is "", the one at `path`, beside or inside weights; nothing when there is none
/// there.
std::optional<Vocabulary> find_vocabulary(const std::string& path, const std::string& given = "");

}  // namespace cria
