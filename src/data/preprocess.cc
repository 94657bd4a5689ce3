#include "data/preprocess.h"

#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/loader.h"
#include "data/preprocess_job.h"
#include "tokenizer/load.h"

namespace cria {
namespace {

TokenId pick(const std::optional<TokenId>& given, const std::optional<TokenId>& known,
             const Tokenizer& tokenizer, std::string_view name) {
  const auto id = given ? given : known;
  require(id.has_value(),
          "preprocess: the vocabulary has no {} token; try: --{}_token with an id "
          "or a special token's text",
          name, name);
  require(*id >= 0 && *id < tokenizer.vocab_size(),
          "preprocess: {}_token {} is outside the vocabulary of {} tokens", name, *id,
          tokenizer.vocab_size());
  return *id;
}

SampleMaker::Settings settings_of(const PreprocessOptions& o, const Tokenizer& tokenizer) {
  const Vocabulary& v = tokenizer.vocabulary();
  SampleMaker::Settings s{.bos = pick(o.bos, v.bos, tokenizer, "bos"),
                          .eos = pick(o.eos, v.eos, tokenizer, "eos"),
                          .pad = pick(o.pad, v.pad, tokenizer, "pad"),
                          .record_length = o.seq_length + 1,
                          .allow_special = o.allow_special,
                          .keep_empty = o.keep_empty};
  require(s.pad != s.eos,
          "preprocess: pad and eos are the same token {}, so no reply's end would be trained; try: "
          "--pad_token with another token, for example --pad_token \"<|endoftext|>\"",
          s.eos);
  return s;
}

void check_options(const PreprocessOptions& o) {
  require(!o.input.empty(), "preprocess: no input file is given");
  require(!o.output.empty(), "preprocess: no output file is given");
  require(o.seq_length >= 1 && o.seq_length <= (1 << 24),
          "preprocess: seq_length is {}, expected 1 to {}", o.seq_length, 1 << 24);
  require(o.file_partition >= 1 && o.file_partition <= 1000,
          "preprocess: file_partition is {}, expected 1 to 1000", o.file_partition);
  require(o.repeat >= 1, "preprocess: repeat is {}, expected at least 1", o.repeat);
  require(o.threads >= 0, "preprocess: threads is {}, expected 0 or more", o.threads);
  require(o.skip_bad >= 0, "preprocess: skip_bad is {}, expected 0 or more", o.skip_bad);
  if (o.skip_bad > 0 && o.dataset_type == DatasetType::wiki)
    warn("preprocess: skip_bad is for records and has no effect on plain text");
  if (o.repeat > 1 && o.dataset_type == DatasetType::qa)
    warn("preprocess: repeat is for wiki data only and has no effect here");
  if (!is_record_file_name(o.output))
    warn(
        fmt::format("preprocess: {}: a training run will not find this name by folder, expected "
                    "one that ends in mindrecord; try: {}.mindrecord",
                    o.output, o.output));
}

// Early, so that nobody waits for the tokens first; the writer checks again.
void check_output_is_free(const PreprocessOptions& o) {
  if (o.overwrite) return;
  const auto digits = std::to_string(o.file_partition - 1).size();
  for (int i = 0; i < o.file_partition; ++i) {
    const std::string name =
        o.file_partition == 1 ? o.output : fmt::format("{}{:0{}}", o.output, i, digits);
    for (const std::string& file : {name, name + ".db"})
      require(!is_file(file), "preprocess: {}: the output exists already; try: --overwrite", file);
  }
}

void check_text(const MappedFile& file) {
  file.advise_sequential();
  if (const auto bad = find_invalid_utf8(file.text())) {
    throw FormatError(describe({.what = "read text",
                                .path = file.path(),
                                .offset = static_cast<int64_t>(*bad),
                                .reason = "not valid UTF-8",
                                .found = escaped(file.text().substr(*bad, 4))}));
  }
  file.advise_done(0, file.size());
}

}  // namespace

PreprocessReport preprocess(const PreprocessOptions& options, const ProgressCall& progress) {
  check_options(options);
  check_output_is_free(options);
  return preprocess(options, Tokenizer(load_vocabulary(options.vocab_file)), progress);
}

PreprocessReport preprocess(const PreprocessOptions& options, const Tokenizer& tokenizer,
                            const ProgressCall& progress) {
  check_options(options);
  check_output_is_free(options);
  internal::PreprocessJob job{options, tokenizer, progress, settings_of(options, tokenizer)};
  if (options.dataset_type == DatasetType::qa) {
    JsonRecords records(options.input, BadRecords(options.skip_bad).first());
    internal::preprocess_qa(job, records);
  } else {
    const MappedFile text(options.input);
    check_text(text);
    internal::preprocess_wiki(job, text);
  }
  return job.report;
}

TokenId parse_token(const Tokenizer& tokenizer, std::string_view id_or_text) {
  if (const auto id = tokenizer.find_special(id_or_text)) return *id;
  TokenId id = -1;
  const char* end = id_or_text.data() + id_or_text.size();
  const auto [stop, error] = std::from_chars(id_or_text.data(), end, id);
  require(error == std::errc() && stop == end,
          "token \"{}\": neither an id nor the text of a special token", escaped(id_or_text));
  require(id >= 0 && id < tokenizer.vocab_size(), "token {}: outside the vocabulary of {} tokens",
          id, tokenizer.vocab_size());
  return id;
}

}  // namespace cria
