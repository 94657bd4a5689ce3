#include <zlib.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "formats/zip.h"
#include "formats/zip_layout.h"

namespace cria {
namespace {

using namespace zip;

constexpr uint64_t kMaxEntries = 100'000;

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  struct Directory {
    uint64_t offset = 0, size = 0, count = 0;
  };
  Directory find_directory() const;
  /// Moves `at` behind the directory entry there.
  ZipRecord read_central(uint64_t& at, uint64_t end) const;
  /// Sets record.offset from the local header, which must agree with the directory.
  void read_local(ZipRecord& record, uint64_t directory) const;
  void check_disjoint(const std::vector<ZipRecord>& records) const;

  [[noreturn]] void fail(uint64_t at, std::string reason, std::string expected = {},
                         std::string found = {}, std::string hint = {}) const {
    throw FormatError(describe({.what = "read PyTorch file",
                                .path = path_,
                                .offset = static_cast<int64_t>(at),
                                .reason = std::move(reason),
                                .expected = std::move(expected),
                                .found = std::move(found),
                                .hint = std::move(hint)}));
  }

 private:
  struct Sizes {
    uint64_t packed, unpacked, offset;
  };
  // Replaces numbers that say "look into the 64-bit field".
  void widen(uint64_t extra_at, uint64_t extra_size, Sizes& sizes) const;
  void check_kind(uint64_t at, uint16_t flags, uint16_t method) const;
  template <class T>
  T at(uint64_t offset) const {
    return load_le<T>(bytes_, offset);
  }
  std::string_view text(uint64_t offset, uint64_t size) const {
    return text_of(bytes_.subspan(offset, size));
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
};

Parser::Directory Parser::find_directory() const {
  if (bytes_.size() < 4 || at<uint16_t>(0) != (kLocal & 0xffff))
    fail(0, "not a zip archive", "a file that PyTorch 1.6 or newer saved", "",
         "load it in PyTorch and save it again");
  if (bytes_.size() < kEndSize || at<uint32_t>(bytes_.size() - kEndSize) != kEnd)
    fail(bytes_.size(),
         "no zip directory at the end of the file; it is cut short or has a comment");
  const uint64_t end = bytes_.size() - kEndSize;
  if (at<uint16_t>(end + 20) != 0) fail(end, "archive with a comment", "none");
  if (at<uint16_t>(end + 4) != 0 || at<uint16_t>(end + 6) != 0)
    fail(end, "archive of several disks");
  const uint64_t count16 = at<uint16_t>(end + 10), size32 = at<uint32_t>(end + 12);
  const uint64_t offset32 = at<uint32_t>(end + 16);
  Directory d{offset32, size32, count16};
  uint64_t behind = end;  // where the directory must stop
  if (end >= kLocator64Size + kEnd64Size && at<uint32_t>(end - kLocator64Size) == kLocator64) {
    const uint64_t locator = end - kLocator64Size;
    behind = locator - kEnd64Size;
    if (at<uint64_t>(locator + 8) != behind || at<uint32_t>(behind) != kEnd64 ||
        at<uint64_t>(behind + 4) != kEnd64Size - 12)
      fail(locator, "bad 64-bit end of directory");
    if (at<uint32_t>(locator + 4) != 0 || at<uint32_t>(locator + 16) > 1 ||
        at<uint32_t>(behind + 16) != 0 || at<uint32_t>(behind + 20) != 0)
      fail(locator, "archive of several disks");
    d = {at<uint64_t>(behind + 48), at<uint64_t>(behind + 40), at<uint64_t>(behind + 32)};
    if (at<uint64_t>(behind + 24) != d.count) fail(behind, "archive of several disks");
    if ((count16 != 0xffff && count16 != d.count) || (size32 != kIn64 && size32 != d.size) ||
        (offset32 != kIn64 && offset32 != d.offset))
      fail(end, "the two ends of the directory disagree");
  } else if (at<uint16_t>(end + 8) != count16) {
    fail(end, "archive of several disks");
  }
  if (checked_add(d.offset, d.size) != behind)
    fail(end, "the directory is not where its end says", std::to_string(behind),
         fmt::format("offset {} and size {}", d.offset, d.size));
  const uint64_t most = std::min(kMaxEntries, d.size / kCentralSize);
  if (d.count == 0 || d.count > most)
    fail(end, "bad number of records", fmt::format("1 to {}", most), std::to_string(d.count));
  return d;
}

void Parser::check_kind(uint64_t at, uint16_t flags, uint16_t method) const {
  if ((flags & 1) != 0) fail(at, "encrypted record");
  if ((flags & ~(kSizesFollow | kUtf8)) != 0)
    fail(at, "unknown flags of a record", "bits 3 and 11 only", fmt::format("{:#x}", flags));
  if (method != 0) fail(at, "compressed record", "method 0", std::to_string(method));
}

void Parser::widen(uint64_t extra_at, uint64_t extra_size, Sizes& sizes) const {
  const uint64_t end = extra_at + extra_size;
  while (end - extra_at >= 4) {
    const auto id = at<uint16_t>(extra_at);
    const uint64_t size = at<uint16_t>(extra_at + 2);
    uint64_t field = extra_at + 4;
    if (size > end - field) fail(extra_at, "extra field longer than its header says");
    extra_at = field + size;
    if (id != kExtra64) continue;
    for (uint64_t* number : {&sizes.unpacked, &sizes.packed, &sizes.offset}) {
      if (*number != kIn64) continue;
      if (extra_at - field < 8) fail(field, "64-bit field too short");
      *number = at<uint64_t>(field);
      field += 8;
    }
    return;
  }
}

ZipRecord Parser::read_central(uint64_t& at_, uint64_t end) const {
  const uint64_t begin = at_;
  if (end - begin < kCentralSize || at<uint32_t>(begin) != kCentral)
    fail(begin, "bad directory entry");
  check_kind(begin, at<uint16_t>(begin + 8), at<uint16_t>(begin + 10));
  const uint64_t name_size = at<uint16_t>(begin + 28), extra_size = at<uint16_t>(begin + 30);
  const uint64_t comment_size = at<uint16_t>(begin + 32);
  if (name_size + extra_size + comment_size > end - begin - kCentralSize)
    fail(begin, "directory entry longer than the directory");
  if (at<uint16_t>(begin + 34) != 0) fail(begin, "record on another disk");
  Sizes sizes{at<uint32_t>(begin + 20), at<uint32_t>(begin + 24), at<uint32_t>(begin + 42)};
  widen(begin + kCentralSize + name_size, extra_size, sizes);
  if (sizes.packed != sizes.unpacked)
    fail(begin, "sizes of a stored record differ", std::to_string(sizes.unpacked),
         std::to_string(sizes.packed));
  at_ = begin + kCentralSize + name_size + extra_size + comment_size;
  return {.name = text(begin + kCentralSize, name_size),
          .header_offset = sizes.offset,
          .offset = 0,
          .size = sizes.unpacked,
          .crc = at<uint32_t>(begin + 16)};
}

void Parser::read_local(ZipRecord& record, uint64_t directory) const {
  const uint64_t begin = record.header_offset;
  if (begin > directory || directory - begin < kLocalSize || at<uint32_t>(begin) != kLocal)
    fail(begin, fmt::format("no header of record \"{}\"", escaped(record.name)));
  const auto flags = at<uint16_t>(begin + 6);
  check_kind(begin, flags, at<uint16_t>(begin + 8));
  const uint64_t name_size = at<uint16_t>(begin + 26), extra_size = at<uint16_t>(begin + 28);
  if (name_size + extra_size > directory - begin - kLocalSize)
    fail(begin, "record header runs into the directory");
  const auto name = text(begin + kLocalSize, name_size);
  if (name != record.name)
    fail(begin, "record header and directory disagree about the name",
         fmt::format("\"{}\"", escaped(record.name)), fmt::format("\"{}\"", escaped(name)));
  record.offset = begin + kLocalSize + name_size + extra_size;
  if (record.size > directory - record.offset)
    fail(begin, fmt::format("record \"{}\" runs into the directory", escaped(record.name)),
         fmt::format("at most {} bytes", directory - record.offset), std::to_string(record.size));
  if ((flags & kSizesFollow) != 0) return;
  Sizes sizes{at<uint32_t>(begin + 18), at<uint32_t>(begin + 22), 0};
  widen(begin + kLocalSize + name_size, extra_size, sizes);
  if (sizes.packed != record.size || sizes.unpacked != record.size)
    fail(begin, "record header and directory disagree about the size", std::to_string(record.size),
         std::to_string(sizes.unpacked));
}

void Parser::check_disjoint(const std::vector<ZipRecord>& records) const {
  std::vector<const ZipRecord*> sorted;
  for (const ZipRecord& r : records) sorted.push_back(&r);
  std::ranges::sort(sorted, {}, &ZipRecord::header_offset);
  for (size_t i = 1; i < sorted.size(); ++i) {
    const uint64_t end = sorted[i - 1]->offset + sorted[i - 1]->size;
    if (sorted[i]->header_offset < end)
      fail(sorted[i]->header_offset,
           fmt::format("record \"{}\" lies inside another", escaped(sorted[i]->name)),
           fmt::format("offset {} or more", end));
  }
}

}  // namespace

ZipReader::ZipReader(std::span<const std::byte> bytes, std::string path, bool verify_sums)
    : bytes_(bytes), path_(std::move(path)), verify_sums_(verify_sums) {
  const Parser parser(bytes_, path_);
  const auto directory = parser.find_directory();
  const uint64_t end = directory.offset + directory.size;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.count; ++i) {
    const uint64_t begin = at;
    ZipRecord record = parser.read_central(at, end);
    parser.read_local(record, directory.offset);
    const size_t slash = record.name.find('/');
    const auto top = record.name.substr(0, slash);
    if (slash == std::string_view::npos || !is_plain_name(top) || find_invalid_utf8(record.name) ||
        (i > 0 && top != top_))
      parser.fail(begin, "record outside the one top folder",
                  i == 0 ? "folder/name" : fmt::format("\"{}/\"", escaped(top_)),
                  fmt::format("\"{}\"", escaped(record.name)));
    top_ = top;
    record.name.remove_prefix(slash + 1);
    if (!index_.emplace(record.name, i).second)
      parser.fail(begin, fmt::format("record \"{}\" appears twice", escaped(record.name)));
    records_.push_back(record);
  }
  if (at != end) parser.fail(at, "bytes behind the last directory entry");
  parser.check_disjoint(records_);
  verified_ = std::make_unique<std::atomic<bool>[]>(records_.size());
}

const ZipRecord* ZipReader::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &records_[it->second];
}

std::span<const std::byte> ZipReader::contents(const ZipRecord& record) const {
  const auto bytes = bytes_.subspan(record.offset, record.size);
  std::atomic<bool>& verified = verified_[index_.at(record.name)];
  if (!verify_sums_ || verified) return bytes;
  // Threads that meet here do the same work twice, and nothing else.
  const uLong sum = crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  if (sum != record.crc) {
    Parser(bytes_, path_)
        .fail(record.offset, fmt::format("record \"{}\" is damaged", escaped(record.name)),
              fmt::format("CRC-32 {:08x}", record.crc), fmt::format("{:08x}", sum));
  }
  verified = true;
  return bytes;
}

}  // namespace cria
