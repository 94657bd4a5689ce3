#include "formats/mindrecord_shard.h"

#include "base/bytes.h"
#include "base/error.h"

namespace cria {
namespace {

[[noreturn]] void fail(const std::string& path, uint64_t offset, std::string reason,
                       std::string expected = {}, std::string found = {}, std::string hint = {}) {
  throw FormatError(describe({.what = "MindRecord",
                              .path = path,
                              .offset = static_cast<int64_t>(offset),
                              .reason = std::move(reason),
                              .expected = std::move(expected),
                              .found = std::move(found),
                              .hint = std::move(hint)}));
}

constexpr uint64_t kSmallestRecord = 8;  // its length word

std::string_view header_text(std::span<const std::byte> bytes, const std::string& path) {
  const std::string_view text = text_of(bytes);
  if (text.ends_with("ENCRYPT"))
    fail(path, text.size() - 7, "the file is encrypted", "", "",
         "decrypt it with MindSpore and the key it was written with");
  if (text.size() < 8)
    fail(path, 0, "too short for a MindRecord file", "at least 8 bytes",
         std::to_string(text.size()));
  const auto size = load_le<uint64_t>(bytes, 0);
  if (size > text.size() - 8 || size + 8 > kMaxHeaderSize)
    fail(path, 0, "the header does not fit the file, or this is no MindRecord file",
         fmt::format("a header of at most {} bytes", text.size() - 8), std::to_string(size));
  return text.substr(8, size);
}

}  // namespace

MindRecordShard::MindRecordShard(std::span<const std::byte> bytes, std::string path)
    : bytes_(bytes), path_(std::move(path)) {
  const std::string_view json = header_text(bytes_, path_);
  header_ = parse_mindrecord_header(json, path_);
  if (json.size() + 8 > header_.header_size)
    fail(path_, 0, "the header is larger than its header_size",
         fmt::format("at most {}", header_.header_size), std::to_string(json.size() + 8));
  check_pages();
  place_blobs();
  place_raws();
}

// Sizes are bounded by the header's parser (page_id < 2^32, page_size <= 2^28): no overflow.
void MindRecordShard::check_pages() const {
  for (size_t i = 0; i < header_.pages.size(); ++i) {
    const MindRecordPage& page = header_.pages[i];
    if (page.page_id != i)
      fail(path_, 8, "header: pages out of order", fmt::format("page_id {}", i),
           std::to_string(page.page_id));
    if (page_offset(page) + page.used > bytes_.size())
      fail(path_, page_offset(page), fmt::format("page {} ends beyond the file", i),
           fmt::format("{} bytes", page.used),
           page_offset(page) < bytes_.size() ? std::to_string(bytes_.size() - page_offset(page))
                                             : "none");
  }
}

uint64_t MindRecordShard::walk(uint64_t at, uint64_t end, uint64_t rows,
                               std::vector<uint64_t>& places) const {
  for (uint64_t i = 0; i < rows; ++i) {
    if (end - at < 8) fail(path_, at, "a page ends before its last row");
    const auto size = load_le<uint64_t>(bytes_, at);
    if (size > end - at - 8)
      fail(path_, at, "a record does not fit its page", fmt::format("at most {}", end - at - 8),
           std::to_string(size));
    places.push_back(at);
    at += 8 + size;
  }
  return at;
}

void MindRecordShard::place_blobs() {
  uint64_t number = 0, row = 0;
  for (const MindRecordPage& page : header_.pages) {
    if (!page.is_blob) continue;
    if (page.type_id != number++)
      fail(path_, 8, "header: blob pages are not numbered 0, 1, 2, ...", std::to_string(number - 1),
           std::to_string(page.type_id));
    if (page.start_row != row || page.end_row < page.start_row ||
        page.end_row - page.start_row > page.used / kSmallestRecord)
      fail(path_, 8, fmt::format("header: bad row range of page {}", page.page_id),
           fmt::format("{} up to at most {}", row, row + page.used / kSmallestRecord),
           fmt::format("{} to {}", page.start_row, page.end_row));
    const uint64_t at = page_offset(page), end = at + page.used;
    const uint64_t stop = walk(at, end, page.end_row - row, blob_at_);
    if (stop != end) fail(path_, stop, "bytes after the last row of a page");
    row = page.end_row;
  }
}

void MindRecordShard::place_raws() {
  std::vector<const MindRecordPage*> blobs;
  for (const MindRecordPage& page : header_.pages) {
    if (page.is_blob) blobs.push_back(&page);
  }
  struct Start {
    uint64_t at = 0, end = 0;
  };
  std::vector<Start> starts(blobs.size());
  for (const MindRecordPage& page : header_.pages) {
    if (page.is_blob) continue;
    for (const MindRecordGroup& group : page.groups) {
      if (group.blob_page >= blobs.size())
        fail(path_, 8,
             fmt::format("header: page {} names a blob page that is not there", page.page_id),
             fmt::format("less than {}", blobs.size()), std::to_string(group.blob_page));
      Start& start = starts[group.blob_page];
      if (start.end != 0)
        fail(path_, 8,
             fmt::format("header: blob page {} has two groups of raw records", group.blob_page));
      start = {page_offset(page) + group.offset, page_offset(page) + page.used};
    }
  }
  raw_at_.reserve(blob_at_.size());
  for (size_t i = 0; i < blobs.size(); ++i) {
    const uint64_t rows = blobs[i]->end_row - blobs[i]->start_row;
    if (starts[i].end == 0)
      fail(path_, 8, fmt::format("header: no raw page holds the rows of blob page {}", i));
    walk(starts[i].at, starts[i].end, rows, raw_at_);
  }
}

// The length was checked when the file was opened, but the file may have been changed since.
MindRecordShard::Record MindRecordShard::record(uint64_t offset) const {
  const auto size = load_le<uint64_t>(bytes_, offset);
  if (size > bytes_.size() - offset - 8)
    fail(path_, offset, "the file was changed while it was open");
  return {offset, bytes_.subspan(offset + 8, size)};
}

}  // namespace cria
