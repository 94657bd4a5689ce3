// What a data set was made with, kept beside its records as `<output>.meta.json`: which tokenizer,
// which special ids, and how many tokens. A run compares it with its own settings before it starts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace cria {

struct DatasetMeta {
  std::string dataset_type;     // "qa" or "wiki"
  std::string prompt_template;  // "vicuna" for qa, "none" for wiki
  std::string compat;           // "none" or "mindformers"
  bool allow_special = false;
  std::string tokenizer_sha256;  // Tokenizer::fingerprint()
  int64_t vocab_size = 0;
  TokenId bos = 0, eos = 0, pad = 0;
  int64_t seq_length = 0;  // records hold one token more
  int64_t records = 0, tokens = 0, trained_tokens = 0, truncated = 0;
  // See PreprocessReport. 0 when read from the description of an earlier version, which lacks them.
  int64_t empty_replies = 0, empty_skipped = 0, fully_masked = 0, bad_skipped = 0;
  int64_t differing_from_recipe = 0;
  std::string cria_version;  // filled by meta_json

  bool operator==(const DatasetMeta&) const = default;
};

std::string meta_json(const DatasetMeta& meta);
/// `path` is the .meta.json file; it is compared with the sums of its data set where there are some.
/// Throws IoError, FormatError.
DatasetMeta read_dataset_meta(const std::string& path);
/// The same from the file's text; `path` is for messages. Throws FormatError.
DatasetMeta parse_dataset_meta(std::string_view text, const std::string& path);
/// The name beside a record file or beside the first of a set: `<file>.meta.json`, or without the
/// shard number. Empty when there is none.
std::string find_dataset_meta(const std::string& record_file);

/// What a run is about to use; what is not given is not compared.
struct DatasetExpectation {
  std::optional<std::string> tokenizer_sha256;
  std::optional<int64_t> vocab_size;
  std::optional<TokenId> bos, eos, pad;
  std::optional<int64_t> seq_length;
};

/// Throws MismatchError that names the file and both values of the first thing that differs; ids of
/// the data beyond vocab_size count too.
void check_dataset_matches(const DatasetMeta& meta, const std::string& meta_path,
                           const DatasetExpectation& expected);
/// Throws UsageError for data of which no token is trained, as where prompts fill every record.
void require_trained_tokens(const DatasetMeta& meta, const std::string& meta_path);

}  // namespace cria
