#include "base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/temporary_folder.h"

namespace cria {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

TEST(MappedFile, ShowsTheBytesOfAFile) {
  const TemporaryFolder folder;
  put(folder / "a", "hello");
  MappedFile a(folder / "a");
  EXPECT_EQ(a.text(), "hello");
  EXPECT_EQ(a.size(), 5u);
  const MappedFile moved = std::move(a);
  EXPECT_EQ(moved.text(), "hello");
  EXPECT_EQ(moved.path(), folder / "a");
  moved.advise_sequential();
  moved.advise_done(0, 5);
  EXPECT_EQ(moved.text(), "hello");
}

TEST(MappedFile, AnEmptyFileIsEmpty) {
  const TemporaryFolder folder;
  put(folder / "a", "");
  EXPECT_EQ(MappedFile(folder / "a").size(), 0u);
}

TEST(MappedFile, RefusesWhatIsNotARegularFile) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_THROW(MappedFile(folder / "fifo"), IoError);  // and does not wait for a writer
  EXPECT_THROW(MappedFile{folder.path()}, IoError);
  EXPECT_THROW(MappedFile("/dev/null"), IoError);
  try {
    const MappedFile missing(folder / "none");
    FAIL();
  } catch (const IoError& e) {
    EXPECT_EQ(std::string(e.what()), "open: " + folder / "none" + ": No such file or directory");
  }
}

TEST(MappedFileDeathTest, AFileThatShrinksEndsTheProgramWithItsName) {
  const TemporaryFolder folder;
  const std::string path = folder / "shrinks";
  put(path, std::string(100'000, 'x'));
  EXPECT_EXIT(
      {
        const MappedFile file(path);
        if (truncate(path.c_str(), 0) != 0) _exit(0);
        volatile char c = file.text()[50'000];
        _exit(c == 'x' ? 0 : 1);
      },
      testing::ExitedWithCode(4), "error: read: .*shrinks: the file shrank while it was read");
}

TEST(ReadText, RefusesFilesBeyondTheLimit) {
  const TemporaryFolder folder;
  put(folder / "a", "12345");
  EXPECT_EQ(read_text(folder / "a", 5), "12345");
  EXPECT_THROW(read_text(folder / "a", 4), FormatError);
}

TEST(AtomicFile, IsSeenOnlyAfterCommit) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "out");
  file.write("abc");
  EXPECT_FALSE(is_file(folder / "out"));
  file.commit();
  EXPECT_EQ(read_text(folder / "out"), "abc");
  EXPECT_THAT(list_files(folder.path()), ElementsAre("out"));
}

TEST(AtomicFile, LeavesNothingBehindWithoutCommit) {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder / "out");
    file.write(std::string(3 << 20, 'x'));
  }
  EXPECT_THAT(list_files(folder.path()), IsEmpty());
}

TEST(AtomicFile, KeepsTheOlderFileWithoutCommitAndReplacesItWith) {
  const TemporaryFolder folder;
  write_file(folder / "out", "old");
  {
    AtomicFile file(folder / "out");
    file.write("new");
  }
  EXPECT_EQ(read_text(folder / "out"), "old");
  write_file(folder / "out", "new");
  EXPECT_EQ(read_text(folder / "out"), "new");
}

TEST(AtomicFile, WritesSmallAndLargePiecesInOrder) {
  const TemporaryFolder folder;
  std::string expected;
  AtomicFile file(folder / "out");
  for (const size_t n : {1u, 1'000'000u, 48'575u, 1u, 1u << 20, 5u, 3u << 20, 0u, 7u}) {
    const std::string piece(n, static_cast<char>('a' + expected.size() % 26));
    file.write(piece);
    expected += piece;
    EXPECT_EQ(file.position(), expected.size());
  }
  file.commit();
  EXPECT_TRUE(read_text(folder / "out") == expected);
}

TEST(AtomicFile, SeekLeavesZerosAndWriteAtDoesNotMoveTheEnd) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "out");
  file.write("head");
  file.seek(8);
  file.write("tail");
  file.write_at(1, std::as_bytes(std::span("EA", 2)));
  file.write("!");
  EXPECT_EQ(file.position(), 13u);
  file.commit();
  EXPECT_EQ(read_text(folder / "out"), std::string("hEAd\0\0\0\0tail!", 13));
}

TEST(AtomicFile, WriteAtGoesOverBytesThatAreStillBuffered) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "out");
  file.write("abcdef");
  file.write_at(2, std::as_bytes(std::span("CD", 2)));
  file.write("g");
  file.write_at(6, std::as_bytes(std::span("G", 1)));
  file.commit();
  EXPECT_EQ(read_text(folder / "out"), "abCDefG");
}

TEST(AtomicFile, FailsWithoutAParentFolderAndOntoAFolder) {
  const TemporaryFolder folder;
  EXPECT_THROW(AtomicFile(folder / "none/out"), IoError);
  make_folders(folder / "sub/inner");
  AtomicFile file(folder / "sub");
  file.write("x");
  EXPECT_THROW(file.commit(), IoError);
  EXPECT_THAT(list_files(folder.path()), IsEmpty());
}

TEST(Folders, AreMadeListedAndTold) {
  const TemporaryFolder folder;
  make_folders(folder / "a/b");
  EXPECT_TRUE(is_folder(folder / "a/b"));
  EXPECT_FALSE(is_file(folder / "a"));
  put(folder / "z", "");
  put(folder / "m", "");
  EXPECT_THAT(list_files(folder.path()), ElementsAre("m", "z"));
  EXPECT_THROW(list_files(folder / "none"), IoError);
  EXPECT_THROW(make_folders(folder / "z/x"), IoError);
  EXPECT_THROW(sync_folder(folder / "none"), IoError);
}

TEST(Paths, AreTakenApartAndJoined) {
  EXPECT_EQ(parent_folder("a/b/c"), "a/b");
  EXPECT_EQ(parent_folder("c"), ".");
  EXPECT_EQ(base_name("a/b/c"), "c");
  EXPECT_EQ(join_path("a", "b"), "a/b");
  for (const char* good : {"a", "model-00001.safetensors", ".hidden", "a b"})
    EXPECT_TRUE(is_plain_name(good)) << good;
  for (const std::string& bad :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/a"),
        std::string("a\\b"), std::string("a\0b", 3)})
    EXPECT_FALSE(is_plain_name(bad)) << escaped(bad);
}

}  // namespace
}  // namespace cria
