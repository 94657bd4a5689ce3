#include "formats/mindrecord_shard_writer.h"

#include "base/bytes.h"
#include "base/error.h"
#include "formats/mindrecord_index.h"

namespace cria {
namespace {

constexpr unsigned kMode = 0600;  // as MindSpore leaves its files

void write_record(AtomicFile& file, std::span<const std::byte> content) {
  const uint64_t size = content.size();
  file.write(std::as_bytes(std::span(&size, 1)));
  file.write(content);
}

}  // namespace

MindRecordShardWriter::MindRecordShardWriter(const std::string& path, MindRecordHeader header,
                                             bool keep_raw)
    : header_(std::move(header)),
      name_(base_name(path)),
      file_(path, kMode),
      index_(path + ".db", kMode) {
  if (keep_raw) waiting_ = std::make_unique<AtomicFile>(path + ".raw", kMode);
}

void MindRecordShardWriter::add(std::span<const std::byte> blob, std::span<const std::byte> raw) {
  const uint64_t blob_size = 8 + blob.size(), raw_size = 8 + raw.size();
  require(blob_size <= header_.page_size && raw_size <= header_.page_size,
          "MindRecord: {}: a row of {} bytes does not fit a page of {}; try: a larger page size",
          file_.path(), std::max(blob_size, raw_size), header_.page_size);
  if (pages_.empty() || pages_.back().used + blob_size > header_.page_size ||
      pages_.back().raw_used + raw_size > header_.page_size) {
    file_.seek(header_.header_size + pages_.size() * header_.page_size);
    pages_.emplace_back();
  }
  BlobPage& page = pages_.back();
  ++page.rows;
  page.used += blob_size;
  page.raw_used += raw_size;
  write_record(file_, blob);
  if (waiting_) {
    write_record(*waiting_, raw);
  } else if (only_raw_.empty()) {
    only_raw_.assign(raw.begin(), raw.end());
  }
}

// The raw records of one blob page, to the current place of the file.
void MindRecordShardWriter::write_group(const BlobPage& page, uint64_t& waiting_at,
                                        std::span<const std::byte> waiting) {
  if (waiting_) {
    file_.write(waiting.subspan(waiting_at, page.raw_used));
    waiting_at += page.raw_used;
    return;
  }
  for (uint64_t row = 0; row < page.rows; ++row) write_record(file_, only_raw_);
}

void MindRecordShardWriter::write_raw_pages() {
  std::unique_ptr<MappedFile> waiting;
  if (waiting_) {
    waiting_->seek(waiting_->position());  // everything to the file
    waiting = std::make_unique<MappedFile>(waiting_->temporary_path());
  }
  uint64_t row = 0, waiting_at = 0;
  for (size_t i = 0; i < pages_.size(); ++i) {
    header_.pages.push_back({.page_id = i,
                             .is_blob = true,
                             .type_id = i,
                             .start_row = row,
                             .end_row = row + pages_[i].rows,
                             .used = pages_[i].used,
                             .groups = {{}}});
    row += pages_[i].rows;
  }
  for (size_t i = 0; i < pages_.size(); ++i) {
    if (header_.pages.back().is_blob ||
        header_.pages.back().used + pages_[i].raw_used > header_.page_size) {
      const uint64_t id = header_.pages.size();
      // MindSpore's oddity: a further raw page has the page after the previous raw one as type id.
      const uint64_t type_id = header_.pages.back().is_blob ? 0 : header_.pages.back().page_id + 1;
      header_.pages.push_back({.page_id = id, .type_id = type_id});
      file_.seek(header_.header_size + id * header_.page_size);
    }
    MindRecordPage& page = header_.pages.back();
    page.groups.push_back({.blob_page = i, .offset = page.used});
    page.used += pages_[i].raw_used;
    write_group(pages_[i], waiting_at, waiting ? waiting->bytes() : std::span<const std::byte>());
  }
}

void MindRecordShardWriter::write_header() {
  const std::string json = mindrecord_header_json(header_);
  require(json.size() + 8 <= header_.header_size,
          "MindRecord: {}: the header needs {} bytes but has {}; try: a larger header or page size",
          file_.path(), json.size() + 8, header_.header_size);
  file_.seek(0);
  const uint64_t size = json.size();
  file_.write(std::as_bytes(std::span(&size, 1)));
  file_.write(json);
  file_.seek(file_.position());
}

void MindRecordShardWriter::finish(uint64_t compression_size) {
  header_.compression_size = compression_size;
  write_raw_pages();
  write_header();
  waiting_.reset();
  // The index is built from the finished file by the code that reads it, which checks both.
  const MappedFile written(file_.temporary_path());
  write_mindrecord_index(index_.temporary_path(), MindRecordShard(written.bytes(), file_.path()),
                         name_);
}

}  // namespace cria
