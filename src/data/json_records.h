// The records of a JSON data file one after another, however large the file: an array of objects, or
// one object a line (JSON lines).
//
// The file is mapped; here only the borders of records are found. Each record's own JSON is parsed
// by parse(), which any thread may call, by the strict rules of base/json.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/json.h"

namespace cria {

/// One record's bytes; valid as long as its JsonRecords.
struct JsonRecord {
  std::string_view text;
  int64_t index = 0;    // from 0
  uint64_t offset = 0;  // of text in the file
  int64_t line = 0;     // from 1, for JSON lines; 0 in an array
};

class JsonRecords {
 public:
  enum class FirstRecord { good, may_be_bad };
  /// A record larger than this is refused.
  static constexpr uint64_t kMaxRecordBytes = 64 << 20;

  /// Opens a file and compares it with its sums where it has some. Throws IoError; FormatError when it begins with neither `[` nor `{`. With
  /// FirstRecord::may_be_bad, whatever does not begin with `[` is one record a line.
  explicit JsonRecords(const std::string& path, FirstRecord first = FirstRecord::good);
  /// The same over memory that outlives this object; `name` stands for the path in messages.
  JsonRecords(std::string_view text, std::string name);

  /// Takes the next record; false after the last one, when the file's end has been checked too.
  /// Throws FormatError with the byte offset.
  bool next(JsonRecord& record);
  /// The record's JSON, an object. Throws FormatError naming the record. Thread-safe.
  [[nodiscard]] Json parse(const JsonRecord& record) const;
  /// Throws FormatError about this record: "record 3 (from byte 120): <reason>, expected ...".
  [[noreturn]] void fail(const JsonRecord& record, std::string reason, std::string expected = {},
                         std::string found = {}) const;

  /// Bytes behind the last record taken, and of the whole file: for progress.
  [[nodiscard]] uint64_t position() const { return pos_; }
  [[nodiscard]] uint64_t size() const { return text_.size(); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void begin(FirstRecord first);
  bool next_line(JsonRecord& record);
  bool next_element(JsonRecord& record);
  void skip_space();
  [[nodiscard]] size_t end_of_object(size_t begin) const;
  [[noreturn]] void fail_at(size_t offset, std::string reason, std::string expected) const;
  void give(JsonRecord& record, size_t begin, size_t end);

  std::string path_;
  std::unique_ptr<MappedFile> file_;
  std::string_view text_;
  size_t pos_ = 0;
  size_t released_ = 0;  // pages before this were given back to the kernel
  int64_t count_ = 0, line_ = 0;
  bool lines_ = false, done_ = false;
};

/// The text of member `key`. Throws FormatError naming record and key when it is missing or no
/// string.
std::string take_string(const JsonRecords& records, const JsonRecord& record, Json& object,
                        std::string_view key);

}  // namespace cria
