// What the two kinds of preprocessing share; private to preprocess*.cc.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "data/json_records.h"
#include "data/preprocess.h"
#include "data/sample.h"
#include "formats/mindrecord.h"

namespace cria::internal {

struct PreprocessJob {
  const PreprocessOptions& options;
  const Tokenizer& tokenizer;
  const ProgressCall& progress;
  SampleMaker::Settings settings;
  ThreadPool pool{options.threads};
  PreprocessReport report = {};
};

/// The folder of the output: made where only that one is missing, removed again unless kept.
class OutputFolder {
 public:
  explicit OutputFolder(const std::string& output);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  void keep() { made_.clear(); }

 private:
  std::string made_;
};

/// The output while it is written: nothing is seen before commit(), and a folder made for it goes
/// again when it is given up.
class RecordOutput {
 public:
  /// `expected_rows` -1: unknown, allowed with one partition.
  RecordOutput(PreprocessJob& job, int64_t expected_rows);
  ~RecordOutput();
  RecordOutput(const RecordOutput&) = delete;
  RecordOutput& operator=(const RecordOutput&) = delete;

  /// Pads with pad (ids) and kIgnored (labels) to the record length and counts in job.report; for
  /// wiki the labels are empty.
  void write(std::span<const TokenId> ids, std::span<const int32_t> labels);
  void commit();

 private:
  PreprocessJob& job_;
  OutputFolder folder_;
  MindRecordWriter writer_;
  std::vector<TokenId> ids_;
  std::vector<int32_t> labels_;
};

void preprocess_qa(PreprocessJob& job, JsonRecords& records);
/// `text` is valid UTF-8.
void preprocess_wiki(PreprocessJob& job, const MappedFile& text);

}  // namespace cria::internal
