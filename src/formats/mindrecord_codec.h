// Rows of a MindRecord file as bytes: the blob record's content (arrays and bytes columns) and the
// raw record's (plain values, as MessagePack).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "formats/mindrecord.h"

namespace cria {

class MindRecordCodec {
 public:
  /// `schema` in any order of columns; rows have their values in that order.
  MindRecordCodec(MindRecordSchema schema, bool packed_integers);

  /// The content of the row's blob record; `out` is replaced. Throws UsageError for a value that
  /// does not fit its column.
  void encode_blob(const MindRecordRow& row, std::vector<std::byte>& out);
  /// The same for a schema of int32 arrays only.
  void encode_blob(std::span<const std::span<const int32_t>> columns, std::vector<std::byte>& out);
  /// The content of the raw record; `out` is replaced.
  void encode_raw(const MindRecordRow& row, std::vector<std::byte>& out) const;
  /// Bytes saved by packing so far; negative when packing cost some.
  [[nodiscard]] int64_t saved_bytes() const { return saved_bytes_; }

  /// Where a record's content lies, for messages.
  struct Place {
    const std::string& path;
    uint64_t offset;
  };
  [[nodiscard]] MindRecordRow decode(std::span<const std::byte> blob,
                                     std::span<const std::byte> raw, const Place& blob_place,
                                     const Place& raw_place) const;
  void decode_int32(std::span<const std::byte> blob, size_t column, std::vector<int32_t>& out,
                    const Place& place) const;
  /// The plain values only; the others stay empty. Throws FormatError like all decoding.
  void decode_raw(std::span<const std::byte> raw, MindRecordRow& row, const Place& place) const;

  [[nodiscard]] const MindRecordSchema& schema() const { return schema_; }
  /// Whether rows have no plain value; their raw records then are all {"id": 0}.
  [[nodiscard]] bool only_blobs() const { return raws_.empty(); }
  /// Whether write_row may take spans of int32.
  [[nodiscard]] bool only_int32_arrays() const;

 private:
  void append_blob(std::vector<std::byte>& out, const std::function<void(size_t)>& append_column);
  void append_column(size_t column, const MindRecordValue& value, std::vector<std::byte>& out);
  template <class T>
  void append_array(size_t column, std::span<const T> values, std::vector<std::byte>& out);
  /// The bytes of the i-th blob column in order.
  [[nodiscard]] std::vector<std::span<const std::byte>> split(std::span<const std::byte> blob,
                                                              const Place& place) const;
  [[nodiscard]] std::span<const std::byte> part(std::span<const std::byte> blob, size_t column,
                                                const Place& place) const;
  template <class T>
  void decode_array(size_t column, std::span<const std::byte> bytes, std::vector<T>& out,
                    const Place& place) const;
  [[nodiscard]] MindRecordValue decode_column(size_t column, std::span<const std::byte> bytes,
                                              const Place& place) const;

  MindRecordSchema schema_;
  bool packed_;
  std::vector<size_t> blobs_, raws_;  // columns of each kind, in byte order of their names
  int64_t saved_bytes_ = 0;
};

/// Why an array of `count` elements does not have the column's shape, or "".
std::string shape_fault(const MindRecordColumn& column, uint64_t count);

}  // namespace cria
