// The small files beside tokenizer.json.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/vocabulary_files.h"

namespace cria {
namespace {

[[noreturn]] void refuse(const std::string& path, std::string reason, std::string_view found) {
  throw FormatError(describe({.what = "read tokenizer settings",
                              .path = path,
                              .reason = std::move(reason),
                              .found = escaped(found)}));
}

Json parse_object(std::string_view text, const std::string& path) {
  Json json = parse_json(text, "read tokenizer settings", path);
  if (!json.is_object()) refuse(path, "not a JSON object", text);
  return json;
}

// "bos_token": "<s>" or {"content": "<s>", ...} or null.
void read_named(const Json& json, const char* key, const std::string& path, const Vocabulary& v,
                std::optional<TokenId>& id) {
  if (!json.contains(key) || json[key].is_null()) return;
  const Json& value =
      json[key].is_object() && json[key].contains("content") ? json[key]["content"] : json[key];
  if (!value.is_string()) refuse(path, fmt::format("{} is no text", key), value.dump());
  const auto& text = value.get_ref<const std::string&>();
  id = special_id(v, text);
  if (!id) refuse(path, fmt::format("{} is no special token of the vocabulary", key), text);
}

TokenId checked_id(const Json& json, const char* key, const std::string& path,
                   const Vocabulary& v) {
  if (!json.is_number_unsigned() || json.get<uint64_t>() >= v.pieces.size())
    refuse(path, fmt::format("{} is no id of the vocabulary", key), json.dump());
  return static_cast<TokenId>(json.get<uint64_t>());
}

// An id, or several of which the first fills `first` where it is still open.
void read_ids(const Json& json, const char* key, const std::string& path, const Vocabulary& v,
              std::optional<TokenId>& first, std::vector<TokenId>& all) {
  if (!json.contains(key) || json[key].is_null()) return;
  const Json list = json[key].is_array() ? json[key] : Json::array({json[key]});
  for (const Json& item : list) {
    all.push_back(checked_id(item, key, path, v));
    if (!first) first = all.back();
  }
}

// Text, or a list of {"name", "template"} of which "default" counts.
void read_template(const Json& json, Vocabulary& v) {
  if (!json.contains("chat_template")) return;
  const Json& value = json["chat_template"];
  if (value.is_string()) v.chat_template = value.get<std::string>();
  if (!value.is_array()) return;
  for (const Json& item : value)
    if (item.is_object() && item.value("name", Json()) == "default" && item.contains("template") &&
        item["template"].is_string())
      v.chat_template = item["template"].get<std::string>();
}

}  // namespace

void parse_tokenizer_config(std::string_view text, const std::string& path, Vocabulary& v) {
  const Json json = parse_object(text, path);
  read_named(json, "bos_token", path, v, v.bos);
  read_named(json, "eos_token", path, v, v.eos);
  read_named(json, "pad_token", path, v, v.pad);
  read_template(json, v);
}

std::vector<TokenId> parse_generation_config(std::string_view text, const std::string& path,
                                             Vocabulary& v) {
  std::vector<TokenId> ends, ignored;
  const Json json = parse_object(text, path);
  read_ids(json, "bos_token_id", path, v, v.bos, ignored);
  read_ids(json, "eos_token_id", path, v, v.eos, ends);
  read_ids(json, "pad_token_id", path, v, v.pad, ignored);
  return ends;
}

void read_tokenizer_settings(const std::string& folder, Vocabulary& v) {
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    const std::string path = join_path(folder, name);
    if (is_file(path)) parse_tokenizer_config(read_text(path), path, v);
  }
  std::vector<TokenId> ends;
  if (const std::string path = join_path(folder, "generation_config.json"); is_file(path))
    ends = parse_generation_config(read_text(path), path, v);
  set_end_of_turn(v, ends);
  if (const std::string path = join_path(folder, "chat_template.jinja"); is_file(path))
    v.chat_template = read_text(path, 1 << 20);
}

}  // namespace cria
