// tokenizer.json of Hugging Face's tokenizers library. The file has megabytes of strings, so it is
// read with simdjson; where that refuses a file, our strict reader names the place.
#include <simdjson.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/json.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/vocabulary_files.h"

namespace cria {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr size_t kMaxFile = 128 << 20;
constexpr uint64_t kMaxIds = 1 << 24;

class JsonVocabulary {
 public:
  JsonVocabulary(std::string_view bytes, const std::string& path) {
    v_.source = path;
    parse(bytes);
  }

  Vocabulary take() {
    object root = need<object>(element(root_), "the file");
    check_keys(root, "the file");
    read_pre_tokenizer(root);
    if (!is_null(root, "normalizer"))
      bad_vocabulary(v_, "the normalizer is not one of Llama 3 or SmolLM2, which have none");
    object model = need<object>(root, "model");
    check_keys(model, "model");
    read_model(model);
    read_added(root);
    place_pieces();
    read_unknown(model);
    auto merges = read_merges(model);
    finish_vocabulary(v_, merges);
    return std::move(v_);
  }

 private:
  void parse(std::string_view bytes) {
    if (bytes.size() > kMaxFile)
      bad_vocabulary(
          v_, fmt::format("the file has {} bytes, expected at most {}", bytes.size(), kMaxFile));
    simdjson::error_code error = parser_.allocate(bytes.size() + 1, 64);
    if (error == simdjson::SUCCESS)
      error = parser_.parse(bytes.data(), bytes.size(), true).get(root_);
    if (error == simdjson::SUCCESS) return;
    parse_json(bytes, "read tokenizer.json", v_.source);  // throws, with the place
    bad_vocabulary(v_, fmt::format("not valid JSON, {}", simdjson::error_message(error)));
  }

  template <class T>
  T need(element value, std::string_view name) {
    T out;
    if (value.get(out) != simdjson::SUCCESS)
      bad_vocabulary(v_, fmt::format("{} has the wrong type", name));
    return out;
  }
  template <class T>
  T need(object parent, std::string_view key) {
    element value;
    if (parent[key].get(value) != simdjson::SUCCESS)
      bad_vocabulary(v_, fmt::format("\"{}\" is missing", key));
    return need<T>(value, key);
  }
  template <class T>
  T get_or(object parent, std::string_view key, T otherwise) {
    element value;
    if (parent[key].get(value) != simdjson::SUCCESS || value.is_null()) return otherwise;
    return need<T>(value, key);
  }
  static bool is_null(object parent, std::string_view key) {
    element value;
    return parent[key].get(value) != simdjson::SUCCESS || value.is_null();
  }
  // simdjson lets a key appear twice and finds the first.
  void check_keys(object parent, std::string_view name) {
    std::unordered_set<std::string_view> seen;
    for (const auto& [key, value] : parent)
      if (!seen.insert(key).second)
        bad_vocabulary(v_, fmt::format("key \"{}\" appears twice in {}", escaped(key), name));
  }

  // Llama 3: Split by its pattern, then ByteLevel without a pattern. SmolLM2: Digits one by one,
  // then ByteLevel with GPT-2's pattern; GPT-2: that alone.
  void read_pre_tokenizer(object root) {
    object pre = need<object>(root, "pre_tokenizer");
    std::vector<object> steps;
    if (need<std::string_view>(pre, "type") == "Sequence") {
      for (const element step : need<array>(pre, "pretokenizers"))
        steps.push_back(need<object>(step, "pre_tokenizer"));
    } else {
      steps.push_back(pre);
    }
    const auto type = [&](size_t i) { return need<std::string_view>(steps[i], "type"); };
    const bool known = !steps.empty() && steps.size() <= 2 && type(steps.size() - 1) == "ByteLevel";
    if (!known) refuse_pre_tokenizer(steps.empty() ? "none" : type(0));
    const object bytes = steps.back();
    if (get_or(bytes, "add_prefix_space", true)) refuse_pre_tokenizer("add_prefix_space");
    const bool gpt2_pattern = get_or(bytes, "use_regex", true);
    if (steps.size() == 1 && gpt2_pattern) {
      v_.pre_tokenizer = PreTokenizer::gpt2;
    } else if (steps.size() == 2 && type(0) == "Digits" && gpt2_pattern &&
               get_or(steps[0], "individual_digits", false)) {
      v_.pre_tokenizer = PreTokenizer::smollm;
    } else if (steps.size() == 2 && type(0) == "Split" && !gpt2_pattern) {
      read_split(steps[0]);
    } else {
      refuse_pre_tokenizer(type(0));
    }
  }
  void read_split(object split) {
    const auto pattern = need<std::string_view>(need<object>(split, "pattern"), "Regex");
    if (pattern != kLlama3Pattern) refuse_pre_tokenizer(pattern);
    const auto behavior = need<std::string_view>(split, "behavior");
    if (behavior != "Isolated" || get_or(split, "invert", false)) refuse_pre_tokenizer(behavior);
    v_.pre_tokenizer = PreTokenizer::llama3;
  }
  [[noreturn]] void refuse_pre_tokenizer(std::string_view found) {
    bad_vocabulary(v_, fmt::format("the pre-tokenizer is not Llama 3's, SmolLM2's or GPT-2's: "
                                   "\"{}\"",
                                   escaped(found, 80)));
  }

  void read_model(object model) {
    const auto type = get_or<std::string_view>(model, "type", "BPE");
    if (type != "BPE")
      bad_vocabulary(v_, fmt::format("the model is {}, expected BPE", escaped(type)));
    if (get_or(model, "byte_fallback", false))
      bad_vocabulary(v_, "byte_fallback is on: a converted SentencePiece model (Llama 1 and 2)");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!get_or<std::string_view>(model, key, "").empty())
        bad_vocabulary(v_, fmt::format("{} is set, which byte-level BPE does not have", key));
    if (!is_null(model, "dropout") && get_or(model, "dropout", 0.0) != 0.0)
      bad_vocabulary(v_, "dropout is set: encoding would be random");
    v_.ignore_merges = get_or(model, "ignore_merges", false);
    for (const auto& [text, id] : need<object>(model, "vocab"))
      entries_.push_back({text, need<uint64_t>(id, "an id in vocab"), false});
  }

  void read_added(object root) {
    if (is_null(root, "added_tokens")) return;
    for (const element item : need<array>(root, "added_tokens")) {
      object token = need<object>(item, "an added token");
      const auto text = need<std::string_view>(token, "content");
      for (const char* key : {"lstrip", "rstrip", "single_word"})
        if (get_or(token, key, false))
          bad_vocabulary(v_, fmt::format("added token \"{}\" has {} set, which is not supported",
                                         escaped(text), key));
      if (!get_or(token, "special", false))
        bad_vocabulary(v_, fmt::format("added token \"{}\" is not special, which is not supported",
                                       escaped(text)));
      entries_.push_back({text, need<uint64_t>(token, "id"), true});
    }
  }

  // Ids must be dense. An added token may also stand in the vocab, under the same id and text.
  void place_pieces() {
    uint64_t size = 0;
    for (const Entry& e : entries_) size = std::max(size, e.id < kMaxIds ? e.id + 1 : kMaxIds + 1);
    if (size > entries_.size())
      bad_vocabulary(v_, fmt::format("ids are not dense: {} entries, largest id {}",
                                     entries_.size(), size - 1));
    v_.pieces.resize(size);
    v_.special.resize(size);
    std::vector<const Entry*> owner(size);
    for (const Entry& e : entries_) {
      const Entry*& place = owner[e.id];
      if (place != nullptr && (place->text != e.text || place->special || !e.special))
        bad_vocabulary(v_, fmt::format("id {} appears twice, for \"{}\" and \"{}\"", e.id,
                                       escaped(place->text), escaped(e.text)));
      place = &e;
    }
    for (size_t id = 0; id < size; ++id) {
      if (owner[id] == nullptr) bad_vocabulary(v_, fmt::format("id {} is missing", id));
      v_.special[id] = owner[id]->special;
      if (owner[id]->special) {
        v_.pieces[id] = owner[id]->text;
      } else if (!from_byte_level(owner[id]->text, v_.pieces[id])) {
        bad_vocabulary(v_, fmt::format("token {} (\"{}\") is not in GPT-2's byte alphabet", id,
                                       escaped(owner[id]->text)));
      }
    }
  }

  void read_unknown(object model) {
    const auto name = get_or<std::string_view>(model, "unk_token", "");
    if (name.empty()) return;
    if (get_or(model, "fuse_unk", false))
      bad_vocabulary(v_, "fuse_unk is set, which byte-level BPE does not have");
    const auto at = std::ranges::find(entries_, name, &Entry::text);
    if (at == entries_.end())
      bad_vocabulary(v_, fmt::format("unk_token \"{}\" is no token", escaped(name)));
    v_.unknown = static_cast<TokenId>(at->id);
  }

  std::vector<std::pair<std::string, std::string>> read_merges(object model) {
    std::vector<std::pair<std::string, std::string>> merges;
    for (const element item : need<array>(model, "merges")) {
      std::string_view left, right;
      if (item.is_array()) {
        const array pair = need<array>(item, "a merge");
        if (pair.size() == 2) {
          left = need<std::string_view>(pair.at(0).value_unsafe(), "a merge");
          right = need<std::string_view>(pair.at(1).value_unsafe(), "a merge");
        }
      } else {
        const auto text = need<std::string_view>(item, "a merge");
        const size_t space = std::min(text.find(' '), text.size());
        left = text.substr(0, space);
        right = text.substr(std::min(space + 1, text.size()));
      }
      auto& merge = merges.emplace_back();
      if (left.empty() || right.empty() || !from_byte_level(left, merge.first) ||
          !from_byte_level(right, merge.second))
        bad_vocabulary(v_, fmt::format("merge {} is not two tokens", merges.size() - 1));
    }
    return merges;
  }

  struct Entry {
    std::string_view text;
    uint64_t id;
    bool special;
  };
  Vocabulary v_;
  simdjson::dom::parser parser_;
  element root_;
  std::vector<Entry> entries_;
};

}  // namespace

Vocabulary parse_tokenizer_json(std::string_view bytes, const std::string& path) {
  return JsonVocabulary(bytes, path).take();
}

}  // namespace cria
