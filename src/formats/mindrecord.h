// MindRecord, MindSpore's record files: one or more shards, each with an SQLite index `<shard>.db`
// beside it. A row has a value for every column of the schema. docs/formats/mindrecord.md draws the
// bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace cria {

struct MindRecordColumn {
  /// 1-64 bytes of [0-9A-Za-z_-].
  std::string name;
  enum class Type { bytes, string, int32, int64, float32, float64 } type = Type::int32;
  /// With has_shape the column is an array of that shape, at most one entry -1 (any size); without
  /// it a single value. Only the four number types may have a shape.
  std::vector<int64_t> shape;
  bool has_shape = false;

  /// Blob columns (arrays and bytes) lie in blob pages, all others in the row's raw record.
  [[nodiscard]] bool is_blob() const { return has_shape || type == Type::bytes; }
  bool operator==(const MindRecordColumn&) const = default;
};

struct MindRecordSchema {
  std::string description;
  /// In any order for the writer; readers give them in byte order of their names.
  std::vector<MindRecordColumn> columns;
  bool operator==(const MindRecordSchema&) const = default;
};

/// A value by column: int32/int64 without shape: int64_t; float32/float64 without shape: double;
/// string and bytes: std::string; arrays: the vector of their type, flat in C order.
using MindRecordValue = std::variant<int64_t, double, std::string, std::vector<int32_t>,
                                     std::vector<int64_t>, std::vector<float>, std::vector<double>>;

/// One value per column, in the order of the schema's columns.
struct MindRecordRow {
  std::vector<MindRecordValue> values;
  bool operator==(const MindRecordRow&) const = default;
};

/// Writes a data set that real MindSpore reads: for one shard the layout is byte for byte that of
/// MindSpore after a single write_raw_data call. Nothing is seen under the final names before
/// commit(); until then memory does not grow with the number of rows, and commit() takes 16 bytes a
/// row.
class MindRecordWriter {
 public:
  struct Options {
    /// 1 to 1000. With more than one, the shard number is appended to the path, padded with zeros,
    /// and shard s holds a contiguous run of rows: rows / shards, one more in the first
    /// rows % shards of them. That needs expected_rows.
    int shards = 1;
    /// Limits of the format: 16 KiB to 128 MiB and 32 KiB to 256 MiB, multiples of 4.
    uint64_t header_size = 16777216, page_size = 33554432;
    /// Replace files of the same names.
    bool overwrite = false;
    /// Raw columns to index, in this order; empty: all raw columns.
    std::vector<std::string> index_fields = {};
    /// How many rows will be written, -1 when unknown; commit() refuses another number.
    int64_t expected_rows = -1;
    /// Called in commit() before each change of a name, with the name: where tests stop it.
    const std::function<void(const std::string& name)>* before_change = nullptr;
  };
  /// Throws UsageError for a schema, name or option the format does not allow, and when a file
  /// exists and overwrite is off; IoError when the folder cannot be written.
  MindRecordWriter(const std::string& path, const MindRecordSchema& schema, Options options);
  MindRecordWriter(const std::string& path, const MindRecordSchema& schema);
  ~MindRecordWriter();
  MindRecordWriter(const MindRecordWriter&) = delete;
  MindRecordWriter& operator=(const MindRecordWriter&) = delete;

  /// A row of a schema that has int32 arrays only (the recipe's case), one span per column in
  /// schema order. Throws UsageError when a size breaks the column's shape or the row is larger
  /// than a page.
  void write_row(std::span<const std::span<const int32_t>> int32_columns);
  /// A row of any schema.
  void write_row(const MindRecordRow& row);
  [[nodiscard]] int64_t rows() const;
  /// Writes headers and indexes and gives all files their names, and with them those of `beside`
  /// (path and text of small files that describe the set) and `<path>.sum.json` with the sums of
  /// them all.
  ///
  /// Everything is on the disk under temporary names before the first name changes. Then indexes of
  /// an older set go, the sums come, `beside`, the shards, and last the new indexes. Stopped between,
  /// the old set is whole, or MindSpore refuses the set for a missing index and we refuse it for
  /// its sums, or the new set is whole but for an index.
  void commit(const std::vector<std::pair<std::string, std::string>>& beside = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads a data set without its indexes. Every byte is compared with `<path>.sum.json` where there
/// is one. Every page, row range and record length is checked when it
/// is opened; contents of rows are checked when they are read. Thread-safe. Throws FormatError.
class MindRecordReader {
 public:
  /// Opens the whole set that the file belongs to, whichever shard is given.
  explicit MindRecordReader(const std::string& path);
  /// Just these files, in this order.
  explicit MindRecordReader(const std::vector<std::string>& files);
  ~MindRecordReader();
  MindRecordReader(MindRecordReader&&) noexcept;
  MindRecordReader& operator=(MindRecordReader&&) noexcept;

  [[nodiscard]] int64_t rows() const;
  [[nodiscard]] const MindRecordSchema& schema() const;
  /// Paths in shard order.
  [[nodiscard]] std::vector<std::string> files() const;
  /// Columns that the indexes hold.
  [[nodiscard]] const std::vector<std::string>& index_fields() const;

  /// Rows count over all files in order, from 0; any row is found in O(log files).
  [[nodiscard]] MindRecordRow read(int64_t row) const;
  /// An int32 array column alone: the loader's hot path, no allocation once `out` is large enough.
  void read_int32(int64_t row, size_t column, std::vector<int32_t>& out) const;

  /// Compares each `<shard>.db` with the records. Throws FormatError at the first difference,
  /// IoError when an index is missing.
  void verify_index() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cria
