// One MindRecord shard over bytes in memory: header, pages and the place of every record, checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/mindrecord_header.h"

namespace cria {

class MindRecordShard {
 public:
  /// Keeps `bytes`, which must outlive it; `path` is for messages. Walks all records. Throws
  /// FormatError.
  MindRecordShard(std::span<const std::byte> bytes, std::string path);

  [[nodiscard]] const MindRecordHeader& header() const { return header_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] uint64_t rows() const { return blob_at_.size(); }

  /// A record: where its length word lies in the file, and the content after it.
  struct Record {
    uint64_t offset;
    std::span<const std::byte> content;
  };
  [[nodiscard]] Record blob(uint64_t row) const { return record(blob_at_[row]); }
  [[nodiscard]] Record raw(uint64_t row) const { return record(raw_at_[row]); }

 private:
  [[nodiscard]] Record record(uint64_t offset) const;
  void check_pages() const;
  void place_blobs();
  void place_raws();
  /// Walks `rows` records from `at`; they must end by `end`. Returns where they end.
  uint64_t walk(uint64_t at, uint64_t end, uint64_t rows, std::vector<uint64_t>& places) const;
  [[nodiscard]] uint64_t page_offset(const MindRecordPage& page) const {
    return header_.header_size + page.page_id * header_.page_size;
  }

  std::span<const std::byte> bytes_;
  std::string path_;
  MindRecordHeader header_;
  std::vector<uint64_t> blob_at_, raw_at_;  // by row: absolute offsets
};

}  // namespace cria
