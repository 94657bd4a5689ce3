#include <zlib.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"
#include "formats/zip.h"
#include "formats/zip_layout.h"

namespace cria {
namespace {

using namespace zip;

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kCrcAt = 14;  // in a local header
using Bytes = std::vector<std::byte>;

template <class... Numbers>
void append(Bytes& out, Numbers... numbers) {
  (append_le(out, numbers), ...);
}

uint32_t narrow(uint64_t number) {
  return static_cast<uint32_t>(std::min<uint64_t>(number, kIn64));
}
// Zip needs "version 4.5" to read 64-bit numbers.
constexpr uint16_t kVersion = 45;

}  // namespace

ZipWriter::ZipWriter(AtomicFile& file, std::string top) : file_(file), top_(std::move(top)) {}

void ZipWriter::begin(std::string_view name, uint64_t size) {
  check(left_ == 0, "a record is complete before the next begins");
  Entry entry{fmt::format("{}/{}", top_, name), file_.position(), size, 0};
  Bytes extra;
  if (size >= kIn64) append(extra, kExtra64, uint16_t{16}, size, size);
  const uint64_t head = entry.offset + kLocalSize + entry.name.size() + extra.size() + 4;
  const uint64_t padding = (kAlignment - head % kAlignment) % kAlignment;
  append(extra, kExtraPadding, static_cast<uint16_t>(padding));
  extra.resize(extra.size() + padding, std::byte{'Z'});

  Bytes header;
  append(header, kLocal, kVersion, kUtf8, uint16_t{0}, uint32_t{0}, uint32_t{0}, narrow(size),
         narrow(size), static_cast<uint16_t>(entry.name.size()),
         static_cast<uint16_t>(extra.size()));
  append_bytes(header, raw_bytes(entry.name));
  append_bytes(header, extra);
  file_.write(header);
  entries_.push_back(std::move(entry));
  left_ = size;
  if (left_ == 0) end_record();
}

void ZipWriter::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  check(bytes.size() <= left_, "a record gets as many bytes as it was begun with");
  file_.write(bytes);
  Entry& entry = entries_.back();
  entry.crc = static_cast<uint32_t>(
      crc32_z(entry.crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
  left_ -= bytes.size();
  if (left_ == 0) end_record();
}

void ZipWriter::end_record() {
  Bytes sum;
  append(sum, entries_.back().crc);
  file_.write_at(entries_.back().offset + kCrcAt, sum);
}

void ZipWriter::add(std::string_view name, std::string_view contents) {
  begin(name, contents.size());
  write(raw_bytes(contents));
}

void ZipWriter::finish() {
  check(left_ == 0, "all records are complete before the directory is written");
  const uint64_t begin = file_.position();
  for (const Entry& e : entries_) {
    Bytes extra;
    if (e.size >= kIn64) append(extra, e.size, e.size);
    if (e.offset >= kIn64) append(extra, e.offset);
    const auto extra_size = static_cast<uint16_t>(extra.size());
    Bytes entry;
    append(entry, kCentral, kVersion, kVersion, kUtf8, uint16_t{0}, uint32_t{0}, e.crc,
           narrow(e.size), narrow(e.size), static_cast<uint16_t>(e.name.size()),
           static_cast<uint16_t>(extra_size == 0 ? 0 : extra_size + 4), uint16_t{0}, uint16_t{0},
           uint16_t{0}, uint32_t{0}, narrow(e.offset));
    append_bytes(entry, raw_bytes(e.name));
    if (extra_size != 0) append(entry, kExtra64, extra_size);
    append_bytes(entry, extra);
    file_.write(entry);
  }
  // The 64-bit end is written always, as PyTorch does: one path for small and large files.
  const uint64_t end64 = file_.position(), size = end64 - begin, count = entries_.size();
  Bytes end;
  append(end, kEnd64, uint64_t{kEnd64Size - 12}, kVersion, kVersion, uint32_t{0}, uint32_t{0},
         count, count, size, begin);
  append(end, kLocator64, uint32_t{0}, end64, uint32_t{1});
  const auto count16 = static_cast<uint16_t>(std::min<uint64_t>(count, 0xffff));
  append(end, kEnd, uint16_t{0}, uint16_t{0}, count16, count16, narrow(size), narrow(begin),
         uint16_t{0});
  file_.write(end);
}

}  // namespace cria
