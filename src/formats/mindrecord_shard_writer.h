// One shard being written: blob pages while rows come, everything else at the end.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/mindrecord_header.h"

namespace cria {

class MindRecordShardWriter {
 public:
  /// `header` without pages. With `keep_raw`, raw records wait in a temporary file beside the shard
  /// (blob pages come first in the file); without, all are equal and only counted.
  MindRecordShardWriter(const std::string& path, MindRecordHeader header, bool keep_raw);

  /// The contents of a row's two records. Throws UsageError when one is larger than a page.
  void add(std::span<const std::byte> blob, std::span<const std::byte> raw);
  /// Writes raw pages, header and index under temporary names.
  void finish(uint64_t compression_size);
  /// The two files, for the commit of the set.
  AtomicFile& file() { return file_; }
  AtomicFile& index() { return index_; }

 private:
  struct BlobPage {
    uint64_t rows = 0, used = 0, raw_used = 0;
  };
  void write_raw_pages();
  void write_group(const BlobPage& page, uint64_t& waiting_at, std::span<const std::byte> waiting);
  void write_header();

  MindRecordHeader header_;
  std::string name_;
  AtomicFile file_, index_;
  std::unique_ptr<AtomicFile> waiting_;  // never committed: it goes when the writer does
  std::vector<std::byte> only_raw_;      // the one raw record when all are equal
  std::vector<BlobPage> pages_;
};

}  // namespace cria
