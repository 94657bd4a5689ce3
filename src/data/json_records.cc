#include "data/json_records.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/side_manifest.h"

namespace cria {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string label_of(const JsonRecord& record) {
  if (record.line > 0)
    return fmt::format("read record {} (line {}, from byte {})", record.index, record.line,
                       record.offset);
  return fmt::format("read record {} (from byte {})", record.index, record.offset);
}

}  // namespace

JsonRecords::JsonRecords(const std::string& path, FirstRecord first)
    : path_(path), file_(std::make_unique<MappedFile>(path)), text_(file_->text()) {
  check_side_manifest(path);
  file_->advise_sequential();
  begin(first);
}

JsonRecords::JsonRecords(std::string_view text, std::string name)
    : path_(std::move(name)), text_(text) {
  begin(FirstRecord::good);
}

void JsonRecords::begin(FirstRecord first) {
  skip_space();
  constexpr auto expected = "an array of records or one record a line";
  if (pos_ == text_.size()) fail_at(pos_, "the file holds nothing", expected);
  if (text_[pos_] == '[') {
    ++pos_;
  } else if (text_[pos_] == '{' || first == FirstRecord::may_be_bad) {
    lines_ = true;
    pos_ = 0;
  } else {
    fail_at(pos_, "not JSON data", expected);
  }
}

bool JsonRecords::next(JsonRecord& record) {
  if (done_) return false;
  return lines_ ? next_line(record) : next_element(record);
}

bool JsonRecords::next_line(JsonRecord& record) {
  while (pos_ < text_.size()) {
    const size_t begin = pos_;
    const size_t newline = text_.find('\n', begin);
    const size_t end = newline == std::string_view::npos ? text_.size() : newline;
    pos_ = newline == std::string_view::npos ? end : end + 1;
    ++line_;
    const bool blank =
        text_.substr(begin, end - begin).find_first_not_of(" \t\r") == std::string_view::npos;
    if (blank) continue;
    give(record, begin, end);
    return true;
  }
  done_ = true;
  return false;
}

bool JsonRecords::next_element(JsonRecord& record) {
  skip_space();
  const char c = pos_ < text_.size() ? text_[pos_] : '\0';
  if (c == ']') {
    ++pos_;
    skip_space();
    if (pos_ != text_.size()) fail_at(pos_, "more follows the array", "the end of the file");
    done_ = true;
    return false;
  }
  if (count_ > 0) {
    if (c != ',') fail_at(pos_, "the array is broken", "`,` or `]` behind a record");
    ++pos_;
    skip_space();
  }
  if (pos_ >= text_.size() || text_[pos_] != '{')
    fail_at(pos_, fmt::format("record {} is broken", count_), "an object");
  const size_t begin = pos_;
  pos_ = end_of_object(begin);
  give(record, begin, pos_);
  return true;
}

void JsonRecords::skip_space() {
  while (pos_ < text_.size() && is_space(text_[pos_])) ++pos_;
}

// Counts brackets outside strings. Where they do not pair properly the end found may be wrong, but
// then the record does not parse either.
size_t JsonRecords::end_of_object(size_t begin) const {
  int64_t open = 0;
  const size_t limit = std::min<size_t>(text_.size(), begin + kMaxRecordBytes);
  for (size_t i = begin; i < limit; ++i) {
    const char c = text_[i];
    if (c == '"') {
      for (++i; i < limit && text_[i] != '"'; ++i) {
        if (text_[i] == '\\') ++i;
      }
    } else if (c == '{' || c == '[') {
      ++open;
    } else if ((c == '}' || c == ']') && --open == 0) {
      return i + 1;
    }
  }
  const std::string record = fmt::format("record {} (from byte {})", count_, begin);
  if (limit < text_.size()) fail_at(limit, record + " is too large", "at most 64 MiB");
  fail_at(text_.size(), "the file ends inside " + record, "`}`");
}

void JsonRecords::give(JsonRecord& record, size_t begin, size_t end) {
  if (end - begin > kMaxRecordBytes)
    fail_at(begin, fmt::format("record {} is too large", count_), "at most 64 MiB");
  record = {.text = text_.substr(begin, end - begin),
            .index = count_++,
            .offset = begin,
            .line = lines_ ? line_ : 0};
  // Pages far behind are not needed again; a record handed out earlier is read back if it is.
  constexpr size_t kWindow = 16 << 20;
  if (file_ && begin > released_ + 2 * kWindow) {
    file_->advise_done(released_, kWindow);
    released_ += kWindow;
  }
}

void JsonRecords::fail_at(size_t offset, std::string reason, std::string expected) const {
  throw FormatError(describe({.what = "read records",
                              .path = path_,
                              .offset = static_cast<int64_t>(offset),
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = offset < text_.size()
                                           ? fmt::format("\"{}\"", escaped(text_.substr(offset, 8)))
                                           : "the end of the file"}));
}

void JsonRecords::fail(const JsonRecord& record, std::string reason, std::string expected,
                       std::string found) const {
  const std::string what = label_of(record);
  throw FormatError(describe({.what = what,
                              .path = path_,
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = std::move(found)}));
}

Json JsonRecords::parse(const JsonRecord& record) const {
  Json json = parse_json(record.text, label_of(record), path_, static_cast<int64_t>(record.offset));
  if (!json.is_object()) fail(record, "not a record", "an object", json.type_name());
  return json;
}

std::string take_string(const JsonRecords& records, const JsonRecord& record, Json& object,
                        std::string_view key) {
  const auto found = object.find(key);
  if (found == object.end()) records.fail(record, fmt::format("`{}` is missing", key));
  if (!found->is_string())
    records.fail(record, fmt::format("`{}` has the wrong type", key), "a string",
                 found->type_name());
  return std::move(found->get_ref<std::string&>());
}

}  // namespace cria
