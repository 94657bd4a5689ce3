#include "data/dataset_meta.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/side_manifest.h"

namespace cria {
namespace {

constexpr std::string_view kSuffix = ".meta.json";
constexpr std::string_view kKind = "cria data set";

// Reads members and names the one that is wrong.
class Members {
 public:
  Members(const Json& json, const std::string& path) : json_(json), path_(path) {}

  [[nodiscard]] std::string text(const char* key) const {
    const Json& value = get(key);
    if (!value.is_string()) fail(key, "a string");
    return value.get<std::string>();
  }
  [[nodiscard]] int64_t number(const char* key, int64_t most = INT64_MAX) const {
    const Json& value = get(key);
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(most))
      fail(key, fmt::format("a number from 0 to {}", most));
    return value.get<int64_t>();
  }
  [[nodiscard]] int64_t number_or_0(const char* key) const {
    return json_.contains(key) ? number(key) : 0;
  }
  [[nodiscard]] bool flag(const char* key) const {
    const Json& value = get(key);
    if (!value.is_boolean()) fail(key, "true or false");
    return value.get<bool>();
  }

 private:
  [[nodiscard]] const Json& get(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) fail(key, "a value");
    return *found;
  }
  [[noreturn]] void fail(const char* key, std::string expected) const {
    throw FormatError(describe({.what = "read data set description",
                                .path = path_,
                                .reason = fmt::format("`{}` is missing or wrong", key),
                                .expected = std::move(expected)}));
  }
  const Json& json_;
  const std::string& path_;
};

template <class T>
void compare(const std::string& path, const char* name, const T& in_data,
             const std::optional<T>& in_run) {
  if (!in_run || *in_run == in_data) return;
  throw MismatchError(
      describe({.what = "compare data set",
                .path = path,
                .reason = fmt::format("the data was made with another {}", name),
                .expected = fmt::format("{}", *in_run),
                .found = fmt::format("{}", in_data),
                .hint = "preprocess the data again, or correct the configuration"}));
}

}  // namespace

std::string meta_json(const DatasetMeta& m) {
  const Json json = {{"kind", kKind},
                     {"cria_version", CRIA_VERSION},
                     {"dataset_type", m.dataset_type},
                     {"prompt_template", m.prompt_template},
                     {"compat", m.compat},
                     {"allow_special", m.allow_special},
                     {"tokenizer_sha256", m.tokenizer_sha256},
                     {"vocab_size", m.vocab_size},
                     {"bos_token_id", m.bos},
                     {"eos_token_id", m.eos},
                     {"pad_token_id", m.pad},
                     {"seq_length", m.seq_length},
                     {"records", m.records},
                     {"tokens", m.tokens},
                     {"trained_tokens", m.trained_tokens},
                     {"truncated", m.truncated},
                     {"empty_replies", m.empty_replies},
                     {"empty_skipped", m.empty_skipped},
                     {"fully_masked", m.fully_masked},
                     {"bad_skipped", m.bad_skipped},
                     {"differing_from_recipe", m.differing_from_recipe}};
  return json.dump(2) + "\n";
}

DatasetMeta read_dataset_meta(const std::string& path) {
  const std::string set = path.substr(0, path.size() - std::min(path.size(), kSuffix.size()));
  const std::string sums = set + std::string(kSumsSuffix);
  if (path.ends_with(kSuffix) && is_file(sums)) check_listed_file(sums, path);
  return parse_dataset_meta(read_text(path, 1 << 20), path);
}

DatasetMeta parse_dataset_meta(std::string_view text, const std::string& path) {
  const Json json = parse_json(text, "read data set description", path);
  const Members members(json, path);
  require<FormatError>(json.is_object() && members.text("kind") == kKind,
                       "read data set description: {}: not the description of a data set", path);
  constexpr int64_t kIds = 1 << 24;
  DatasetMeta m;
  m.cria_version = members.text("cria_version");
  m.dataset_type = members.text("dataset_type");
  m.prompt_template = members.text("prompt_template");
  m.compat = members.text("compat");
  m.allow_special = members.flag("allow_special");
  m.tokenizer_sha256 = members.text("tokenizer_sha256");
  m.vocab_size = members.number("vocab_size", kIds);
  m.bos = static_cast<TokenId>(members.number("bos_token_id", kIds));
  m.eos = static_cast<TokenId>(members.number("eos_token_id", kIds));
  m.pad = static_cast<TokenId>(members.number("pad_token_id", kIds));
  m.seq_length = members.number("seq_length", kIds);
  m.records = members.number("records");
  m.tokens = members.number("tokens");
  m.trained_tokens = members.number("trained_tokens");
  m.truncated = members.number("truncated");
  m.empty_replies = members.number_or_0("empty_replies");
  m.empty_skipped = members.number_or_0("empty_skipped");
  m.fully_masked = members.number_or_0("fully_masked");
  m.bad_skipped = members.number_or_0("bad_skipped");
  m.differing_from_recipe = members.number_or_0("differing_from_recipe");
  return m;
}

std::string find_dataset_meta(const std::string& record_file) {
  std::string path = record_file + std::string(kSuffix);
  if (is_file(path)) return path;
  const size_t digits = record_file.find_last_not_of("0123456789");
  path = record_file.substr(0, digits == std::string::npos ? 0 : digits + 1) + std::string(kSuffix);
  return is_file(path) ? path : std::string();
}

void check_dataset_matches(const DatasetMeta& meta, const std::string& meta_path,
                           const DatasetExpectation& expected) {
  compare(meta_path, "tokenizer (sha256)", meta.tokenizer_sha256, expected.tokenizer_sha256);
  compare(meta_path, "bos_token_id", meta.bos, expected.bos);
  compare(meta_path, "eos_token_id", meta.eos, expected.eos);
  compare(meta_path, "pad_token_id", meta.pad, expected.pad);
  compare(meta_path, "seq_length", meta.seq_length, expected.seq_length);
  if (expected.vocab_size && meta.vocab_size > *expected.vocab_size) {
    throw MismatchError(describe({.what = "compare data set",
                                  .path = meta_path,
                                  .reason = "the data's vocabulary is larger than the model's",
                                  .expected = fmt::format("at most {}", *expected.vocab_size),
                                  .found = fmt::format("{}", meta.vocab_size)}));
  }
}

void require_trained_tokens(const DatasetMeta& meta, const std::string& meta_path) {
  require(
      meta.trained_tokens > 0 || meta.records == 0,
      "{}: none of the {} records trains a token: prompts fill them, or replies are empty; try: "
      "a --seq_length larger than {} when the data are prepared",
      meta_path, meta.records, meta.seq_length);
}

}  // namespace cria
