// Token records as training batches: any position of any epoch at once, in an order that is a pure
// function of (seed, epoch).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/sample.h"
#include "formats/mindrecord.h"

namespace cria {

/// True when the file name ends in `mindrecord` and perhaps digits: what the recipe looks for.
bool is_record_file_name(std::string_view path);

/// The record files of `dataset_dir`: the file itself, or every such name below the folder, sorted
/// by path. Throws IoError when the path is missing, UsageError when no name fits.
std::vector<std::string> find_record_files(const std::string& file_or_folder);

/// The column of that name, if it is an int32 array.
std::optional<size_t> find_int32_column(const MindRecordSchema& schema, std::string_view name);

/// A data set for training or evaluation. Thread-safe.
class Dataset {
 public:
  struct Options {
    int64_t seq_length = 0;  // tokens the model sees at a time
    TokenId pad = 0;
    bool use_labels = true;  // column `labels`, where the records have one
    bool shuffle = true;     // anew in every pass
    uint64_t seed = 0;
    int64_t num_samples = 0;  // at most so many a pass; 0: all
    int64_t repeat = 1;       // passes in an epoch
  };
  /// Throws UsageError (options), FormatError, or MismatchError when the first record fits neither
  /// length that fill() takes.
  Dataset(const std::vector<std::string>& files, Options options);

  /// Positions of an epoch.
  [[nodiscard]] int64_t samples() const { return pass_samples_ * options_.repeat; }
  [[nodiscard]] int64_t rows() const { return reader_.rows(); }
  [[nodiscard]] bool has_labels() const { return labels_column_.has_value(); }
  /// The row at a position of an epoch, both from 0. With num_samples a shuffled epoch takes another
  /// part of the rows each time. O(1).
  [[nodiscard]] int64_t row_at(int64_t epoch, int64_t position) const;

  /// Positions [position, position + count) of an epoch: `ids` and `targets` are [count, seq_length],
  /// and the model at ids[t] is to predict targets[t], or nothing where that is kIgnored.
  /// - Records of seq_length + 1 tokens: targets are the labels (or, without labels, the ids) one
  ///   place later; ignored where the input is padding (the recipe's loss mask).
  /// - Records of seq_length tokens: the last place has no target, and a target that is padding is
  ///   ignored (the recipe's evaluation).
  /// Throws MismatchError for a record of another length, FormatError for an unreadable one.
  void fill(int64_t epoch, int64_t position, int64_t count, std::span<TokenId> ids,
            std::span<int32_t> targets) const;

  /// SHA-256 over what tells data sets apart cheaply: per file its name and size, the number of
  /// rows, the schema, the contents of 64 rows spread over the whole, and what rules the order of samples
  /// (the seed apart). Equal sets on other paths are equal.
  [[nodiscard]] std::string fingerprint() const;
  [[nodiscard]] const MindRecordReader& reader() const { return reader_; }

 private:
  void fill_one(int64_t row, std::span<TokenId> ids, std::span<int32_t> targets) const;
  void check_length(int64_t row, size_t size) const;

  MindRecordReader reader_;
  Options options_;
  int64_t pass_samples_ = 0;
  size_t ids_column_ = 0;
  std::optional<size_t> labels_column_;
};

}  // namespace cria
