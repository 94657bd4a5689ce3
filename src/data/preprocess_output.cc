#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "data/dataset_meta.h"
#include "data/preprocess_job.h"

namespace cria::internal {
namespace {

bool is_qa(const PreprocessJob& job) { return job.options.dataset_type == DatasetType::qa; }

MindRecordSchema schema_of(const PreprocessJob& job) {
  MindRecordSchema schema{.description = is_qa(job) ? "qa" : "wiki", .columns = {}};
  schema.columns.push_back({.name = "input_ids", .shape = {-1}, .has_shape = true});
  if (is_qa(job)) schema.columns.push_back({.name = "labels", .shape = {-1}, .has_shape = true});
  return schema;
}

MindRecordWriter::Options writer_options(const PreprocessJob& job, int64_t expected_rows) {
  MindRecordWriter::Options o;
  o.shards = job.options.file_partition;
  o.overwrite = job.options.overwrite;
  o.expected_rows = expected_rows;
  return o;
}

std::string first_file(const PreprocessOptions& o) {
  if (o.file_partition == 1) return o.output;
  return o.output + std::string(std::to_string(o.file_partition - 1).size(), '0');
}

DatasetMeta meta_of(const PreprocessJob& job) {
  const PreprocessReport& r = job.report;
  return {.dataset_type = is_qa(job) ? "qa" : "wiki",
          .prompt_template = is_qa(job) ? "vicuna" : "none",
          .compat = job.options.compat_mindformers ? "mindformers" : "none",
          .allow_special = job.options.allow_special || job.options.compat_mindformers,
          .tokenizer_sha256 = job.tokenizer.fingerprint(),
          .vocab_size = job.tokenizer.vocab_size(),
          .bos = job.settings.bos,
          .eos = job.settings.eos,
          .pad = job.settings.pad,
          .seq_length = job.options.seq_length,
          .records = r.records,
          .tokens = r.tokens,
          .trained_tokens = r.trained_tokens,
          .truncated = r.truncated,
          .empty_replies = r.empty_replies,
          .empty_skipped = r.empty_skipped,
          .fully_masked = r.fully_masked,
          .bad_skipped = r.bad_skipped,
          .differing_from_recipe = r.differing_from_recipe,
          .cria_version = {}};
}

}  // namespace

OutputFolder::OutputFolder(const std::string& output) {
  const std::string folder = parent_folder(output);
  if (is_folder(folder)) return;
  if (mkdir(folder.c_str(), 0777) != 0) {
    throw IoError(describe({.what = "make folder",
                            .path = folder,
                            .reason = std::strerror(errno),
                            .hint = "make the folders above it first"}));
  }
  made_ = folder;
}

OutputFolder::~OutputFolder() {
  // Fails, as it should, when something lies in the folder by now.
  if (!made_.empty()) rmdir(made_.c_str());
}

RecordOutput::RecordOutput(PreprocessJob& job, int64_t expected_rows)
    : job_(job),
      folder_(job.options.output),
      writer_(job.options.output, schema_of(job), writer_options(job, expected_rows)) {
  ids_.resize(static_cast<size_t>(job.settings.record_length));
  labels_.resize(ids_.size());
}

RecordOutput::~RecordOutput() = default;

void RecordOutput::write(std::span<const TokenId> ids, std::span<const int32_t> labels) {
  const auto rest = std::copy(ids.begin(), ids.end(), ids_.begin());
  std::fill(rest, ids_.end(), job_.settings.pad);
  PreprocessReport& report = job_.report;
  ++report.records;
  report.tokens += static_cast<int64_t>(ids.size());
  if (!is_qa(job_)) {
    report.trained_tokens += static_cast<int64_t>(ids.size()) - 1;
    const std::span<const int32_t> columns[] = {ids_};
    writer_.write_row(columns);
    return;
  }
  std::fill(std::copy(labels.begin(), labels.end(), labels_.begin()), labels_.end(), kIgnored);
  const auto masked = std::count(labels.begin(), labels.end(), kIgnored);
  const auto trained = static_cast<int64_t>(labels.size()) - masked;
  report.trained_tokens += trained;
  report.fully_masked += trained == 0 ? 1 : 0;
  const std::span<const int32_t> columns[] = {ids_, labels_};
  writer_.write_row(columns);
}

void RecordOutput::commit() {
  PreprocessReport& report = job_.report;
  const double positions =
      static_cast<double>(report.records) * static_cast<double>(job_.settings.record_length);
  report.padding_share = 1 - static_cast<double>(report.tokens) / positions;
  report.first_file = first_file(job_.options);
  writer_.commit({{job_.options.output + ".meta.json", meta_json(meta_of(job_))}});
  folder_.keep();
}

}  // namespace cria::internal
