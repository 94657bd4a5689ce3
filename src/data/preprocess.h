// Conversations or plain text to MindRecord files of token ids and labels: the recipe's
// llama_preprocess.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "data/alpaca.h"
#include "tokenizer/tokenizer.h"

namespace cria {

enum class DatasetType {
  wiki,  // plain text, cut into full records: column input_ids
  qa,    // conversations or Alpaca records, one a record, padded: columns input_ids, labels
};

struct PreprocessOptions {
  DatasetType dataset_type = DatasetType::wiki;
  std::string input, output;
  std::string vocab_file;           // as tokenizer/load.h takes it
  int64_t seq_length = 8192;        // records hold one token more: inputs and shifted targets
  int file_partition = 1;           // number of record files; with more than one they are numbered
  int repeat = 1;                   // wiki only: the token stream this many times
  bool compat_mindformers = false;  // exactly what the recipe's script writes, its slips included
  bool allow_special = false;       // special-token text in the data becomes special tokens
  bool keep_empty = false;          // qa: rounds with an empty reply stay, as an eos alone
  bool overwrite = false;           // replace an existing output
  std::optional<TokenId> bos, eos, pad;  // instead of the vocabulary's
  int64_t skip_bad = 0;                  // qa: at most so many bad records are left out
  int threads = 0;                       // 0: one per core; results do not depend on it
};

struct PreprocessReport {
  int64_t records = 0;         // written
  int64_t tokens = 0;          // in them, without padding
  int64_t trained_tokens = 0;  // with a label
  int64_t truncated = 0;       // records that lost their end
  int64_t empty_replies = 0;   // rounds left out for an empty reply
  int64_t empty_skipped = 0;   // records left out because no round with a reply was left
  int64_t fully_masked = 0;    // records without any label
  int64_t bad_skipped = 0;     // records left out because they could not be read
  double padding_share = 0;    // of all positions written
  /// qa: records that the recipe's script would have written differently (or at all); wiki: such
  /// paragraphs. 0 with compat_mindformers.
  int64_t differing_from_recipe = 0;
  std::string first_file;  // what the recipe prints as "output files refer"
};

/// Writes `output` (numbered when partitioned), an index `.db` beside each file, and
/// `<output>.meta.json` and `<output>.sum.json` for all. Data are streamed in constant memory; plain
/// text is gone through twice, and its tokens wait in a file beside the output. The output's folder
/// is made when only that one is missing. A failure leaves no output. Throws UsageError (options, an
/// output that exists, pad equal to eos), FormatError (input), IoError.
PreprocessReport preprocess(const PreprocessOptions& options, const ProgressCall& progress = {});
/// The same with a tokenizer that is already there; vocab_file is not looked at.
PreprocessReport preprocess(const PreprocessOptions& options, const Tokenizer& tokenizer,
                            const ProgressCall& progress = {});

/// A token given on the command line: an id, or the text of a special token. Throws UsageError.
TokenId parse_token(const Tokenizer& tokenizer, std::string_view id_or_text);

}  // namespace cria
