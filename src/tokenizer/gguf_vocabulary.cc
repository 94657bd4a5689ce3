#include <algorithm>

#include "base/error.h"
#include "formats/gguf.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/vocabulary_files.h"

namespace cria {
namespace {

// tokenizer.ggml.token_type, as llama.cpp numbers it.
enum TokenType : int64_t { normal = 1, unknown, control, user_defined, unused, byte };

[[noreturn]] void refuse(const GgufReader& gguf, std::string reason, std::string expected,
                         std::string_view found) {
  throw FormatError(describe({.what = "read vocabulary",
                              .path = gguf.path(),
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = escaped(found)}));
}

void read_kind(const GgufReader& gguf, Vocabulary& v) {
  const auto model = gguf.text("tokenizer.ggml.model");
  if (!gguf.has_vocabulary())
    refuse(gguf, "the file has no vocabulary", "tokenizer.ggml.model",
           model.value_or("no such key"));
  if (*model == "llama")
    refuse(gguf, "the vocabulary is a SentencePiece one (Llama 1 and 2)", "gpt2", *model);
  if (*model != "gpt2") refuse(gguf, "unknown kind of vocabulary", "gpt2", *model);
  const auto pre = gguf.text("tokenizer.ggml.pre").value_or("none");
  if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    v.pre_tokenizer = PreTokenizer::llama3;
    v.ignore_merges = true;
  } else if (pre == "smollm") {
    v.pre_tokenizer = PreTokenizer::smollm;
  } else if (pre == "gpt-2") {
    v.pre_tokenizer = PreTokenizer::gpt2;
  } else {
    refuse(gguf, "unknown tokenizer.ggml.pre", "llama-bpe, smollm or gpt-2", pre);
  }
}

void read_pieces(const GgufReader& gguf, Vocabulary& v) {
  const auto tokens = gguf.strings("tokenizer.ggml.tokens");
  if (!tokens) refuse(gguf, "the vocabulary has no tokens", "tokenizer.ggml.tokens", "no such key");
  // The reader saw to it that there are as many as tokens, and that special ids are in range.
  const auto types = gguf.ints("tokenizer.ggml.token_type");
  v.pieces.resize(tokens->size());
  v.special.resize(tokens->size());
  for (size_t id = 0; id < tokens->size(); ++id) {
    const int64_t type = types ? (*types)[id] : TokenType::normal;
    if (type == control || type == user_defined || type == unused) {
      v.special[id] = true;
      v.pieces[id] = (*tokens)[id];
    } else if (type != normal) {
      refuse(gguf, fmt::format("token {} has a type that byte-level BPE does not use", id),
             "1, 3, 4 or 5", std::to_string(type));
    } else if (!from_byte_level((*tokens)[id], v.pieces[id])) {
      refuse(gguf, fmt::format("token {} is not in GPT-2's byte alphabet", id), "only its letters",
             (*tokens)[id]);
    }
  }
}

std::vector<std::pair<std::string, std::string>> read_merges(const GgufReader& gguf) {
  const auto list = gguf.strings("tokenizer.ggml.merges");
  if (!list) refuse(gguf, "the vocabulary has no merges", "tokenizer.ggml.merges", "no such key");
  std::vector<std::pair<std::string, std::string>> merges(list->size());
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string_view text = (*list)[i];
    const size_t space = text.find(' ');
    if (space == std::string_view::npos ||
        !from_byte_level(text.substr(0, space), merges[i].first) ||
        !from_byte_level(text.substr(space + 1), merges[i].second))
      refuse(gguf, fmt::format("merge {} is malformed", i), "two tokens and a space", text);
  }
  return merges;
}

std::optional<TokenId> read_id(const GgufReader& gguf, const char* key) {
  const auto id = gguf.uint(key);
  if (!id) return std::nullopt;
  return static_cast<TokenId>(*id);
}

}  // namespace

Vocabulary read_gguf_vocabulary(const GgufReader& gguf) {
  Vocabulary v;
  v.source = gguf.path();
  read_kind(gguf, v);
  read_pieces(gguf, v);
  v.bos = read_id(gguf, "tokenizer.ggml.bos_token_id");
  v.eos = read_id(gguf, "tokenizer.ggml.eos_token_id");
  v.pad = read_id(gguf, "tokenizer.ggml.padding_token_id");
  std::vector<TokenId> ends;
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto id = read_id(gguf, key)) ends.push_back(*id);
  set_end_of_turn(v, ends);
  v.chat_template = gguf.text("tokenizer.chat_template").value_or("");
  finish_vocabulary(v, read_merges(gguf));
  return v;
}

}  // namespace cria
