#include "tokenizer/export.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace cria {
namespace {

Json byte_level_step(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json sequence(Json first, Json second) {
  return {{"type", "Sequence"},
          {"pretokenizers", Json::array({std::move(first), std::move(second)})}};
}

Json pre_tokenizer_of(const Vocabulary& v) {
  switch (v.pre_tokenizer) {
    case PreTokenizer::llama3:
      return sequence({{"type", "Split"},
                       {"pattern", {{"Regex", kLlama3Pattern}}},
                       {"behavior", "Isolated"},
                       {"invert", false}},
                      byte_level_step(false));
    case PreTokenizer::smollm:
      return sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level_step(true));
    case PreTokenizer::gpt2:
      return byte_level_step(true);
  }
  return {};
}

// Llama 3's tokenizer puts bos in front by default; the others add nothing.
Json post_processor_of(const Vocabulary& v) {
  if (v.pre_tokenizer != PreTokenizer::llama3 || !v.bos) return byte_level_step(true);
  const std::string& bos = v.pieces[static_cast<size_t>(*v.bos)];
  const auto special = [&](int type) {
    return Json{{"SpecialToken", {{"id", bos}, {"type_id", type}}}};
  };
  const auto sequence_of = [](const char* id, int type) {
    return Json{{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({special(0), sequence_of("A", 0)})},
          {"pair", Json::array({special(0), sequence_of("A", 0), special(1), sequence_of("B", 1)})},
          {"special_tokens",
           {{bos, {{"id", bos}, {"ids", Json::array({*v.bos})}, {"tokens", Json::array({bos})}}}}}};
}

Json added_token(const std::string& text) {
  return {{"content", text}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false},  {"special", true}};
}

std::vector<std::string> byte_level_pieces(const Vocabulary& v) {
  std::vector<std::string> texts;
  for (size_t id = 0; id < v.pieces.size(); ++id)
    texts.push_back(v.special[id] ? v.pieces[id] : to_byte_level(v.pieces[id]));
  return texts;
}

Json model_of(const Vocabulary& v) {
  const std::vector<std::string> texts = byte_level_pieces(v);
  Json vocab = Json::object(), merges = Json::array();
  auto& entries = vocab.get_ref<Json::object_t&>();  // appended: keys are known to be unique
  // The library numbers added tokens that are not in the vocab itself, behind the last id in it:
  // only the specials at the very end may be left out.
  const auto last_ordinary = std::find(v.special.rbegin(), v.special.rend(), false);
  for (size_t id = 0; id < static_cast<size_t>(v.special.rend() - last_ordinary); ++id)
    entries.emplace_back(texts[id], id);
  for (const auto& [left, right] : merges_of(v))
    merges.push_back(
        Json::array({texts[static_cast<size_t>(left)], texts[static_cast<size_t>(right)]}));
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", v.unknown ? Json(texts[static_cast<size_t>(*v.unknown)]) : Json()},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", v.rank_is_id || v.ignore_merges},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

Json special_names(const Vocabulary& v) {
  Json names = Json::object();
  const auto add = [&](const char* key, std::optional<TokenId> id) {
    if (id) names[key] = v.pieces[static_cast<size_t>(*id)];
  };
  add("bos_token", v.bos);
  add("eos_token", v.eos);
  add("pad_token", v.pad);
  return names;
}

std::string pretty(const Json& json) { return json.dump(2) + "\n"; }

}  // namespace

std::string tokenizer_json(const Vocabulary& v) {
  Json added = Json::array();
  for (size_t id = 0; id < v.pieces.size(); ++id) {
    if (!v.special[id]) continue;
    Json token = {{"id", id}};
    token.update(added_token(v.pieces[id]));
    added.push_back(std::move(token));
  }
  const Json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", std::move(added)},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", pre_tokenizer_of(v)},
                     {"post_processor", post_processor_of(v)},
                     {"decoder", byte_level_step(true)},
                     {"model", model_of(v)}};
  return file.dump() + "\n";  // megabytes: no indentation
}

std::string tokenizer_config_json(const Vocabulary& v) {
  Json config = special_names(v);
  Json decoder = Json::object();
  for (size_t id = 0; id < v.pieces.size(); ++id)
    if (v.special[id]) decoder[std::to_string(id)] = added_token(v.pieces[id]);
  config["added_tokens_decoder"] = std::move(decoder);
  if (!v.chat_template.empty()) config["chat_template"] = v.chat_template;
  config["clean_up_tokenization_spaces"] = false;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return pretty(config);
}

std::string special_tokens_map_json(const Vocabulary& v) { return pretty(special_names(v)); }

void save_tokenizer_json(const Vocabulary& v, const std::string& path) {
  write_file(path, tokenizer_json(v));
}

void save_hf_tokenizer(const Vocabulary& v, const std::string& folder) {
  save_tokenizer_json(v, join_path(folder, "tokenizer.json"));
  write_file(join_path(folder, "tokenizer_config.json"), tokenizer_config_json(v));
  write_file(join_path(folder, "special_tokens_map.json"), special_tokens_map_json(v));
}

GgufVocabulary gguf_vocabulary_metadata(const Vocabulary& v) {
  GgufVocabulary out;
  out.pre = v.pre_tokenizer == PreTokenizer::llama3   ? "llama-bpe"
            : v.pre_tokenizer == PreTokenizer::smollm ? "smollm"
                                                      : "gpt-2";
  out.tokens = byte_level_pieces(v);
  for (const bool special : v.special) out.token_types.push_back(special ? 3 : 1);
  for (const auto& [left, right] : merges_of(v))
    out.merges.push_back(out.tokens[static_cast<size_t>(left)] + " " +
                         out.tokens[static_cast<size_t>(right)]);
  const auto id_of = [](std::optional<TokenId> id) {
    return id ? std::optional(static_cast<uint32_t>(*id)) : std::nullopt;
  };
  out.bos = id_of(v.bos);
  out.eos = id_of(v.eos);
  out.pad = id_of(v.pad);
  if (!v.end_of_turn.empty()) out.eot = id_of(v.end_of_turn.front());
  out.add_bos = v.pre_tokenizer == PreTokenizer::llama3 && v.bos.has_value();
  out.chat_template = v.chat_template;
  return out;
}

}  // namespace cria
