#include "data/loader.h"

#include <algorithm>
#include <filesystem>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "data/permutation.h"

namespace cria {
namespace {

std::string first_path(const MindRecordReader& reader) { return reader.files().front(); }

}  // namespace

std::optional<size_t> find_int32_column(const MindRecordSchema& schema, std::string_view name) {
  for (size_t i = 0; i < schema.columns.size(); ++i) {
    const MindRecordColumn& c = schema.columns[i];
    if (c.name == name && c.type == MindRecordColumn::Type::int32 && c.has_shape) return i;
  }
  return std::nullopt;
}

bool is_record_file_name(std::string_view path) {
  const size_t last = path.find_last_not_of("0123456789");
  return last != std::string_view::npos && path.substr(0, last + 1).ends_with("mindrecord");
}

std::vector<std::string> find_record_files(const std::string& file_or_folder) {
  if (is_file(file_or_folder)) return {file_or_folder};
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::error_code error;
  fs::recursive_directory_iterator it(file_or_folder, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored) && is_record_file_name(it->path().filename().string()))
      files.push_back(it->path().string());
  }
  if (error)
    throw IoError(
        describe({.what = "open data set", .path = file_or_folder, .reason = error.message()}));
  require(!files.empty(),
          "open data set: {}: no file below this folder has a name that ends in mindrecord and "
          "perhaps digits; try: the path of the record file itself",
          file_or_folder);
  std::sort(files.begin(), files.end());
  return files;
}

Dataset::Dataset(const std::vector<std::string>& files, Options options)
    : reader_(files), options_(options) {
  require(options.seq_length >= 1, "data set: seq_length is {}, expected at least 1",
          options.seq_length);
  require(options.num_samples >= 0, "data set: num_samples is {}, expected 0 or more",
          options.num_samples);
  require(options.repeat >= 1, "data set: repeat is {}, expected at least 1", options.repeat);
  const auto ids = find_int32_column(reader_.schema(), "input_ids");
  require<FormatError>(reader_.rows() > 0 && ids.has_value(),
                       "open data set: {}: expected records with an int32 array input_ids",
                       first_path(reader_));
  ids_column_ = *ids;
  if (options.use_labels) labels_column_ = find_int32_column(reader_.schema(), "labels");
  pass_samples_ =
      options.num_samples > 0 ? std::min(options.num_samples, reader_.rows()) : reader_.rows();
  require(options.repeat <= INT64_MAX / pass_samples_, "data set: repeat is {}, which is too many",
          options.repeat);
  std::vector<TokenId> first;
  reader_.read_int32(0, ids_column_, first);
  check_length(0, first.size());
}

int64_t Dataset::row_at(int64_t epoch, int64_t position) const {
  check(epoch >= 0 && position >= 0 && position < samples(), "position lies in the epoch");
  const int64_t pass = epoch * options_.repeat + position / pass_samples_;
  const int64_t at = position % pass_samples_;
  if (!options_.shuffle) return at;
  const Permutation order(static_cast<uint64_t>(reader_.rows()), options_.seed,
                          static_cast<uint64_t>(pass));
  return static_cast<int64_t>(order(static_cast<uint64_t>(at)));
}

void Dataset::fill(int64_t epoch, int64_t position, int64_t count, std::span<TokenId> ids,
                   std::span<int32_t> targets) const {
  const auto length = static_cast<size_t>(options_.seq_length);
  check(ids.size() == targets.size() && ids.size() == static_cast<size_t>(count) * length,
        "a batch has count x seq_length places");
  for (int64_t i = 0; i < count; ++i) {
    const size_t at = static_cast<size_t>(i) * length;
    fill_one(row_at(epoch, position + i), ids.subspan(at, length), targets.subspan(at, length));
  }
}

void Dataset::fill_one(int64_t row, std::span<TokenId> ids, std::span<int32_t> targets) const {
  thread_local std::vector<int32_t> tokens, labels;
  reader_.read_int32(row, ids_column_, tokens);
  check_length(row, tokens.size());
  std::copy_n(tokens.begin(), ids.size(), ids.begin());
  const std::vector<int32_t>* next = &tokens;
  if (has_labels()) {
    reader_.read_int32(row, *labels_column_, labels);
    require<FormatError>(labels.size() == tokens.size(),
                         "read data set: {}: record {} has {} labels, expected {}",
                         first_path(reader_), row, labels.size(), tokens.size());
    next = &labels;
  }
  const bool shifted = tokens.size() == ids.size() + 1;
  for (size_t t = 0; t < targets.size(); ++t) {
    const bool masked = shifted ? tokens[t] == options_.pad
                                : t + 1 == tokens.size() || tokens[t + 1] == options_.pad;
    targets[t] = masked ? kIgnored : (*next)[t + 1];
  }
}

void Dataset::check_length(int64_t row, size_t size) const {
  const auto length = static_cast<size_t>(options_.seq_length);
  if (size == length || size == length + 1) return;
  throw MismatchError(
      describe({.what = "read data set",
                .path = first_path(reader_),
                .reason = fmt::format("record {} does not fit seq_length {}", row, length),
                .expected = fmt::format("{} or {} tokens", length + 1, length),
                .found = fmt::format("{}", size),
                .hint = fmt::format("seq_length {}", size > 0 ? size - 1 : 0)}));
}

std::string Dataset::fingerprint() const {
  Sha256 sum;
  const auto add = [&](const std::string& text) { sum.add(raw_bytes(text)); };
  for (const std::string& file : reader_.files())
    add(fmt::format("file {} {}\n", base_name(file), MappedFile(file).size()));
  for (const MindRecordColumn& column : reader_.schema().columns)
    add(fmt::format("column {} {}\n", column.name, static_cast<int>(column.type)));
  add(fmt::format("rows {} of them {} repeated {} shuffled {} labels {}\n", reader_.rows(),
                  pass_samples_, options_.repeat, options_.shuffle, has_labels()));
  constexpr int64_t kProbes = 64;
  const int64_t probes = std::min(kProbes, reader_.rows());
  std::vector<int32_t> values;
  for (int64_t i = 0; i < probes; ++i) {
    // i * rows / probes, without the product
    const int64_t row = reader_.rows() / probes * i + reader_.rows() % probes * i / probes;
    reader_.read_int32(row, ids_column_, values);
    sum.add(std::as_bytes(std::span(values)));
    if (!has_labels()) continue;
    reader_.read_int32(row, *labels_column_, values);
    sum.add(std::as_bytes(std::span(values)));
  }
  return sum.hex();
}

}  // namespace cria
