// Zip archives as PyTorch uses them: every record stored as it is, under one top folder.
// Layout and limits: docs/formats/pytorch.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"

namespace cria {

/// A record's place in the file. `name` is without the top folder: "data.pkl", "data/0".
struct ZipRecord {
  std::string_view name;
  uint64_t header_offset = 0, offset = 0, size = 0;
  uint32_t crc = 0;
};

/// The directory of an archive in memory, borrowed. Everything but contents is validated in the
/// constructor (FormatError): one disk, zip64 allowed, no compression, encryption or comment, local
/// headers that agree with the directory, contents that do not overlap. Thread-safe.
class ZipReader {
 public:
  /// `verify_sums` off is for archives whose writer put no true CRC-32 sums.
  ZipReader(std::span<const std::byte> bytes, std::string path, bool verify_sums = true);

  [[nodiscard]] const std::string& top() const { return top_; }
  /// In the directory's order.
  [[nodiscard]] const std::vector<ZipRecord>& records() const { return records_; }
  [[nodiscard]] const ZipRecord* find(std::string_view name) const;
  /// The contents; their CRC-32 is verified at the first call for that record (FormatError).
  [[nodiscard]] std::span<const std::byte> contents(const ZipRecord& record) const;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::span<const std::byte> bytes_;
  std::string path_, top_;
  bool verify_sums_;
  std::vector<ZipRecord> records_;
  std::unordered_map<std::string_view, size_t> index_;
  mutable std::unique_ptr<std::atomic<bool>[]> verified_;
};

/// Appends stored records to a file, contents at multiples of 64 bytes as torch.save does. Sizes are
/// told first; a record's sum is filled in when its last byte is written.
class ZipWriter {
 public:
  ZipWriter(AtomicFile& file, std::string top);
  void begin(std::string_view name, uint64_t size);
  void write(std::span<const std::byte> bytes);
  /// The whole record in one call.
  void add(std::string_view name, std::string_view contents);
  /// Writes the directory. The file is not committed.
  void finish();

 private:
  struct Entry {
    std::string name;
    uint64_t offset, size;
    uint32_t crc;
  };
  void end_record();

  AtomicFile& file_;
  std::string top_;
  std::vector<Entry> entries_;
  uint64_t left_ = 0;
};

}  // namespace cria
