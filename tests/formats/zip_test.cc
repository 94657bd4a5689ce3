// Archives that break one rule each, built field by field, and what the writer makes of records.
#include "formats/zip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <functional>

#include "base/bytes.h"
#include "base/error.h"

namespace cria {
namespace {

using testing::HasSubstr;

template <class... T>
std::string le(T... values) {
  std::string out;
  (out.append(reinterpret_cast<const char*>(&values), sizeof(T)), ...);
  return out;
}
uint32_t sum_of(const std::string& s) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(s.data()), s.size()));
}

struct Record {
  std::string name, data;
  std::string local_name = name;
  uint16_t flags = 0, local_flags = 0, method = 0, local_method = 0, disk = 0;
  uint32_t local_size = static_cast<uint32_t>(data.size());
  uint32_t packed = local_size, unpacked = local_size, crc = sum_of(data);
  std::string local_extra = {}, extra = {}, comment = {};
  int64_t shift = 0;           // added to the offset of its header
  uint16_t comment_shift = 0;  // added to the length of its comment
  uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50;
};

struct Archive {
  std::vector<Record> records = {{.name = "top/a", .data = "hello"},
                                 {.name = "top/b", .data = "good-bye"}};
  int count_shift = 0, offset_shift = 0, size_shift = 0;
  uint16_t disk = 0, comment_size = 0;
  std::string before_directory = {}, after_directory = {}, tail = {};
  bool end64 = false;
  uint32_t end64_disk = 0;
  int end64_count_shift = 0, locator_shift = 0;
};

std::string assemble(const Archive& z) {
  std::string out, directory;
  for (const Record& r : z.records) {
    const auto at = static_cast<uint32_t>(static_cast<int64_t>(out.size()) + r.shift);
    out += le(r.local_signature, uint16_t{20}, r.local_flags, r.local_method, uint32_t{0}, r.crc,
              r.local_size, r.local_size, static_cast<uint16_t>(r.local_name.size()),
              static_cast<uint16_t>(r.local_extra.size())) +
           r.local_name + r.local_extra + r.data;
    directory += le(r.central_signature, uint16_t{20}, uint16_t{20}, r.flags, r.method, uint32_t{0},
                    r.crc, r.packed, r.unpacked, static_cast<uint16_t>(r.name.size()),
                    static_cast<uint16_t>(r.extra.size()),
                    static_cast<uint16_t>(r.comment.size() + r.comment_shift), r.disk, uint16_t{0},
                    uint32_t{0}, at) +
                 r.name + r.extra + r.comment;
  }
  out += z.before_directory;
  const auto begin = static_cast<uint32_t>(static_cast<int>(out.size()) + z.offset_shift);
  const auto size = static_cast<uint32_t>(static_cast<int>(directory.size()) + z.size_shift);
  const auto count = static_cast<uint16_t>(static_cast<int>(z.records.size()) + z.count_shift);
  out += directory + z.after_directory;
  if (z.end64) {
    const uint64_t at = out.size() + static_cast<uint64_t>(z.locator_shift);
    const uint64_t count64 = count + static_cast<uint64_t>(z.end64_count_shift);
    out += le(uint32_t{0x06064b50}, uint64_t{44}, uint16_t{45}, uint16_t{45}, z.end64_disk,
              uint32_t{0}, count64, count64, uint64_t{size}, uint64_t{begin});
    out += le(uint32_t{0x07064b50}, uint32_t{0}, at, uint32_t{1});
  }
  out += le(uint32_t{0x06054b50}, z.disk, uint16_t{0}, count, count, size, begin, z.comment_size);
  return out + z.tail;
}

struct Case {
  const char* reason;
  std::function<void(Archive&)> change;
};

std::string extra64(uint64_t value) { return le(uint16_t{1}, uint16_t{8}, value); }

const std::vector<Case> kCases = {
    {"not a zip archive", [](Archive& z) { z.records[0].local_signature = 0x12345678; }},
    {"no zip directory at the end", [](Archive& z) { z.tail = "x"; }},
    {"archive with a comment",
     [](Archive& z) {
       z.comment_size = 22;
       z.tail = assemble({}).substr(assemble({}).size() - 22);
       z.tail[20] = 5;
     }},
    {"archive of several disks", [](Archive& z) { z.disk = 1; }},
    {"directory is not where", [](Archive& z) { z.offset_shift = 1; }},
    {"directory is not where", [](Archive& z) { z.offset_shift = -1; }},
    {"directory is not where", [](Archive& z) { z.size_shift = -1; }},
    {"directory is not where", [](Archive& z) { z.after_directory = "x"; }},
    {"bad number of records",
     [](Archive& z) {
       z.records.clear();
       z.before_directory = "PK";
       z.before_directory.resize(40);
     }},
    {"bad number of records", [](Archive& z) { z.count_shift = 1000; }},
    {"bytes behind the last directory entry", [](Archive& z) { z.count_shift = -1; }},
    {"bytes behind the last directory entry",
     [](Archive& z) {
       z.after_directory = "x";
       z.size_shift = 1;
     }},
    {"two ends of the directory disagree",
     [](Archive& z) {
       z.end64 = true;
       z.end64_count_shift = 1;
     }},
    {"bad 64-bit end", [](Archive& z) { z.end64 = true, z.locator_shift = 1; }},
    {"archive of several disks", [](Archive& z) { z.end64 = true, z.end64_disk = 1; }},
    {"bad directory entry", [](Archive& z) { z.records[1].central_signature = 1; }},
    {"encrypted", [](Archive& z) { z.records[1].flags = 1; }},
    {"encrypted", [](Archive& z) { z.records[1].local_flags = 1; }},
    {"unknown flags", [](Archive& z) { z.records[1].flags = 1 << 6; }},
    {"unknown flags", [](Archive& z) { z.records[1].local_flags = 1 << 13; }},
    {"compressed record", [](Archive& z) { z.records[1].method = 8; }},
    {"compressed record", [](Archive& z) { z.records[1].local_method = 8; }},
    {"record on another disk", [](Archive& z) { z.records[1].disk = 1; }},
    {"sizes of a stored record differ", [](Archive& z) { z.records[1].packed = 7; }},
    {"disagree about the size",
     [](Archive& z) {
       z.records[1].local_size = 7;
       z.records[1].packed = z.records[1].unpacked = 8;
     }},
    {"disagree about the name", [](Archive& z) { z.records[1].local_name = "top/c"; }},
    {"disagree about the name", [](Archive& z) { z.records[1].local_name = "top/bb"; }},
    {"runs into the directory",
     [](Archive& z) { z.records[1].packed = z.records[1].unpacked = z.records[1].local_size = 9; }},
    {"runs into the directory",
     [](Archive& z) { z.records[1].packed = z.records[1].unpacked = 0xfffffffe; }},
    {"no header of record", [](Archive& z) { z.records[1].shift = 1; }},
    {"no header of record", [](Archive& z) { z.records[1].shift = 1 << 30; }},
    {"64-bit field too short",
     [](Archive& z) {
       z.records[1].packed = z.records[1].unpacked = 0xffffffff;
       z.records[1].extra = extra64(8);
     }},
    {"runs into the directory",
     [](Archive& z) {
       z.records[1].packed = z.records[1].unpacked = 0xffffffff;
       z.records[1].extra = le(uint16_t{1}, uint16_t{16}, UINT64_MAX - 10, UINT64_MAX - 10);
     }},
    {"extra field longer", [](Archive& z) { z.records[1].extra = le(uint16_t{1}, uint16_t{100}); }},
    {"directory entry longer", [](Archive& z) { z.records[1].comment_shift = 1; }},
    {"\"a\" appears twice", [](Archive& z) { z.records[1] = {.name = "top/a", .data = "again"}; }},
    {"outside the one top folder",
     [](Archive& z) { z.records[1] = {.name = "pot/b", .data = ""}; }},
    {"outside the one top folder", [](Archive& z) { z.records[0] = {.name = "a", .data = ""}; }},
    {"outside the one top folder", [](Archive& z) { z.records[0] = {.name = "/a", .data = ""}; }},
    {"outside the one top folder", [](Archive& z) { z.records[0] = {.name = "../a", .data = ""}; }},
    {"outside the one top folder",
     [](Archive& z) { z.records[1] = {.name = "top/\xff", .data = ""}; }},
    {"lies inside another",
     [](Archive& z) {
       // The second record's header sits in the contents of the first.
       const Record inner{.name = "top/b", .data = "xy"};
       const std::string header = le(inner.local_signature, uint16_t{20}, uint16_t{0}, uint16_t{0},
                                     uint32_t{0}, inner.crc, 2U, 2U, uint16_t{5}, uint16_t{0}) +
                                  inner.name + inner.data;
       z.records[0] = {.name = "top/a", .data = header};
       z.records[1] = inner;
       z.records[1].shift = -static_cast<int64_t>(header.size());
     }},
};

class ZipHostile : public testing::TestWithParam<size_t> {};
TEST_P(ZipHostile, IsRefusedWithPathPlaceAndReason) {
  Archive archive;
  kCases[GetParam()].change(archive);
  const std::string file = assemble(archive);
  try {
    const ZipReader r(raw_bytes(file), "some/hostile.pth");
    FAIL() << "was read, not refused for: " << kCases[GetParam()].reason;
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr(kCases[GetParam()].reason));
    EXPECT_THAT(e.what(), HasSubstr("some/hostile.pth at byte "));
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, ZipHostile, testing::Range<size_t>(0, kCases.size()));

TEST(Zip, TheUnchangedArchiveIsReadInBothForms) {
  for (const bool end64 : {false, true}) {
    Archive archive;
    archive.end64 = end64;
    const std::string file = assemble(archive);
    const ZipReader r(raw_bytes(file), "good.pth");
    EXPECT_EQ(r.top(), "top");
    ASSERT_NE(r.find("b"), nullptr);
    EXPECT_EQ(text_of(r.contents(*r.find("b"))), "good-bye");
    EXPECT_EQ(r.find("c"), nullptr);
  }
}

TEST(Zip, SizesAndOffsetMayBeInThe64BitField) {
  Archive archive;
  Record& r = archive.records[1];
  r.packed = r.unpacked = 0xffffffff;
  r.extra = le(uint16_t{7}, uint16_t{2}, uint16_t{0}, uint16_t{1}, uint16_t{16}, uint64_t{8},
               uint64_t{8});
  const std::string file = assemble(archive);
  const ZipReader reader(raw_bytes(file), "good.pth");
  EXPECT_EQ(text_of(reader.contents(*reader.find("b"))), "good-bye");
}

TEST(Zip, SizesInTheLocalHeaderDoNotCountWhenTheyFollowTheContents) {
  Archive archive;
  archive.records[0].local_flags = archive.records[0].flags = 1 << 3;
  archive.records[0].packed = archive.records[0].unpacked = 5;
  archive.records[0].local_size = 0;
  const std::string file = assemble(archive);
  const ZipReader reader(raw_bytes(file), "good.pth");
  EXPECT_EQ(text_of(reader.contents(*reader.find("a"))), "hello");
}

TEST(Zip, AWrongSumIsFoundWhenTheRecordIsReadUnlessSumsAreOff) {
  Archive archive;
  archive.records[1].crc ^= 1;
  const std::string file = assemble(archive);
  const ZipReader reader(raw_bytes(file), "damaged.pth");
  EXPECT_EQ(text_of(reader.contents(*reader.find("a"))), "hello");
  for (int i = 0; i < 2; ++i) {
    try {
      (void)reader.contents(*reader.find("b"));
      FAIL() << "was read";
    } catch (const FormatError& e) {
      EXPECT_THAT(e.what(), HasSubstr("record \"b\" is damaged, expected CRC-32"));
    }
  }
  const ZipReader trusting(raw_bytes(file), "damaged.pth", false);
  EXPECT_EQ(text_of(trusting.contents(*trusting.find("b"))), "good-bye");
}

TEST(Zip, CutAtAnyByteItIsRefused) {
  const std::string file = assemble({});
  for (size_t cut = 0; cut < file.size(); ++cut)
    EXPECT_THROW(ZipReader(raw_bytes(file).first(cut), "cut.pth"), FormatError) << cut;
}

TEST(Zip, WrittenRecordsComeBackAlignedWhateverTheirPieces) {
  const std::string path = fmt::format("{}cria_zip_{}", testing::TempDir(), ::getpid());
  const std::string large(3 << 20, 'L');
  {
    AtomicFile file(path);
    ZipWriter writer(file, "archive");
    writer.add("data.pkl", "pickle");
    writer.add("empty", "");
    writer.begin("data/0", large.size());
    for (size_t i = 0; i < large.size(); i += 100'000)
      writer.write(raw_bytes(std::string_view(large).substr(i, 100'000)));
    writer.finish();
    file.commit();
  }
  const MappedFile file(path);
  const ZipReader reader(file.bytes(), path);
  EXPECT_EQ(text_of(reader.contents(*reader.find("data.pkl"))), "pickle");
  EXPECT_EQ(text_of(reader.contents(*reader.find("empty"))), "");
  EXPECT_EQ(text_of(reader.contents(*reader.find("data/0"))), large);
  for (const ZipRecord& r : reader.records()) EXPECT_EQ(r.offset % 64, 0U) << r.name;
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace cria
