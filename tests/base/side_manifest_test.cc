#include "base/side_manifest.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "temporary_folder.h"

namespace cria {
namespace {

using testing::HasSubstr;

std::string failure(const std::string& path) {
  try {
    check_side_manifest(path);
  } catch (const FormatError& e) {
    return e.what();
  }
  return "no failure";
}

// The known answers of RFC 3720, B.4.
TEST(Crc32c, GivesThePublishedSums) {
  std::vector<std::byte> bytes(32);
  EXPECT_EQ(crc32c(bytes), 0x8a9136aaU);
  std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
  EXPECT_EQ(crc32c(bytes), 0x62a8ab43U);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(bytes), 0x46dd794eU);
}

TEST(SideManifest, FindsAFlippedBitInAnyBlockAndSaysWhere) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gguf";
  std::string bytes(9'000'000, 'a');
  write_file(path, bytes);
  EXPECT_FALSE(check_side_manifest(path)) << "without a manifest there is nothing to compare";
  write_side_manifest(path);
  EXPECT_TRUE(check_side_manifest(path));
  for (const size_t at : {size_t{0}, size_t{4} << 20, bytes.size() - 1}) {
    bytes[at] = 'b';
    write_file(path, bytes);
    EXPECT_THAT(failure(path),
                HasSubstr(fmt::format("{} at byte {}: this 4 MiB block is damaged", path,
                                      at / FileSums::kBlockBytes * FileSums::kBlockBytes)));
    EXPECT_THAT(failure(path), HasSubstr("remove x.gguf.sum.json if"));
    bytes[at] = 'a';
  }
  write_file(path, bytes + "a");
  EXPECT_THAT(failure(path), HasSubstr("expected 9000000 bytes, found 9000001"));
  remove_side_manifest(path);
  EXPECT_FALSE(check_side_manifest(path));
  remove_side_manifest(path);
}

TEST(SideManifest, RefusesANumberedFileThatItsSetDoesNotList) {
  const TemporaryFolder folder;
  ThreadPool pool(1);
  SideManifest set;
  for (const char* name : {"x.mindrecord0", "x.mindrecord1"}) {
    write_file(folder / name, name);
    set[name] = sums_of(std::as_bytes(std::span(std::string_view(name))), pool);
  }
  write_file(folder / "x.mindrecord.sum.json", side_manifest_text(set));
  write_file(folder / "x.mindrecord2", "of an older set");
  EXPECT_TRUE(check_side_manifest(folder / "x.mindrecord1"));
  EXPECT_THAT(failure(folder / "x.mindrecord2"), HasSubstr("belongs to another set"));
  EXPECT_NO_THROW(check_listed_files(folder / "x.mindrecord.sum.json"));
  std::filesystem::remove(folder / "x.mindrecord0");
  EXPECT_THROW(check_listed_files(folder / "x.mindrecord.sum.json"), FormatError);
}

TEST(SideManifest, RefusesADamagedManifest) {
  const std::string text = side_manifest_text({{"a", {.size = 1, .sha256 = "x", .blocks = {7}}}});
  ASSERT_EQ(parse_side_manifest(text, "m").at("a").blocks.at(0), 7U);
  for (size_t i = 0; i < text.size(); ++i) {
    std::string bad = text;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_THROW(parse_side_manifest(bad, "m"), FormatError) << i;
    EXPECT_THROW(parse_side_manifest(text.substr(0, i), "m"), FormatError) << i;
  }
}

TEST(SideManifest, RefusesWhatIsSignedButNotSums) {
  const std::string good =
      R"({"format":"cria sums","version":1,"block_bytes":4194304,"files":{"a":F}})";
  const auto with = [&](std::string_view file) {
    std::string body = good;
    return with_own_sum(body.replace(body.find('F', 60), 1, file));
  };
  EXPECT_NO_THROW(parse_side_manifest(with(R"({"size":0,"sha256":"","crc32c":[]})"), "m"));
  for (const char* file :
       {"7", "{}", R"({"size":-1,"sha256":"","crc32c":[]})",
        R"({"size":1.5,"sha256":"","crc32c":[]})",
        R"({"size":1,"sha256":"","crc32c":[4294967296]})", R"({"size":1,"sha256":"","crc32c":7})",
        R"({"size":1,"sha256":7,"crc32c":[]})"})
    EXPECT_THROW(parse_side_manifest(with(file), "m"), FormatError) << file;
  for (const char* body : {"7", "[]", "{}", R"({"format":"cria sums","version":2})",
                           R"({"format":"cria sums","version":1,"block_bytes":4194304,"files":7})",
                           R"({"format":"cria sums","version":1,"block_bytes":4194304,
                               "files":{"../a":{"size":0,"sha256":"","crc32c":[]}}})"})
    EXPECT_THROW(parse_side_manifest(with_own_sum(body), "m"), FormatError) << body;
}

}  // namespace
}  // namespace cria
