#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>

namespace cria {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

TEST(Describe, PutsEveryPartInItsPlace) {
  EXPECT_EQ(describe({.what = "read header",
                      .path = "a/b.safetensors",
                      .offset = 8,
                      .reason = "too long",
                      .expected = "at most 100 bytes",
                      .found = "200",
                      .hint = "download it again"}),
            "read header: a/b.safetensors at byte 8: too long, expected at most 100 bytes, found "
            "200; try: download it again");
  EXPECT_EQ(describe({.what = "config", .path = "c.yaml", .line = 3, .column = 7, .reason = "no"}),
            "config: c.yaml line 3 col 7: no");
}

TEST(Describe, LeavesEmptyPartsOut) {
  EXPECT_EQ(describe({.path = "x", .reason = "gone"}), "x: gone");
  EXPECT_EQ(describe({.reason = "gone"}), "gone");
  EXPECT_EQ(describe({.what = "open", .path = "x", .offset = 0}), "open: x at byte 0");
}

TEST(Escaped, KeepsAsciiAndShowsTheRestAsHex) {
  EXPECT_EQ(escaped("a b~"), "a b~");
  EXPECT_EQ(escaped(std::string_view("\0\n\x1b\x7f\xff\\", 6)), "\\x00\\x0a\\x1b\\x7f\\xff\\x5c");
}

TEST(Escaped, CutsAtTheLimit) {
  EXPECT_EQ(escaped("12345", 5), "12345");
  EXPECT_EQ(escaped("123456", 5), "12345...");
  EXPECT_EQ(escaped(std::string(1000, 'x')).size(), 35u);
}

TEST(Require, ThrowsTheAskedClassWithItsCode) {
  require(true, "never {}", 1);
  EXPECT_THROW(require(false, "x is {}", 3), UsageError);
  try {
    require<FormatError>(false, "x is {}", 3);
  } catch (const Error& e) {
    EXPECT_EQ(e.code, ExitCode::format);
    EXPECT_STREQ(e.what(), "x is 3");
  }
  EXPECT_EQ(UsageError("").code, ExitCode::usage);
  EXPECT_EQ(IoError("").code, ExitCode::io);
  EXPECT_EQ(MismatchError("").code, ExitCode::mismatch);
}

TEST(Check, NamesFileLineAndPromise) {
  try {
    check(false, "one is two");
    FAIL();
  } catch (const std::logic_error& e) {
    EXPECT_THAT(e.what(), HasSubstr("error_test.cc:"));
    EXPECT_THAT(e.what(), EndsWith(": bug: one is two"));
  }
}

TEST(Warn, PrintsARepeatedMessageOnce) {
  testing::internal::CaptureStderr();
  warn("twice told");
  warn("twice told");
  warn("another");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: twice told\nwarning: another\n");
}

std::string failure_text(int (*body)(int, char**), int expected_code) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_guarded(body, 0, nullptr), expected_code);
  return testing::internal::GetCapturedStderr();
}

TEST(RunGuarded, GivesTheCodeOfEachFailure) {
  EXPECT_EQ(run_guarded([](int, char**) { return 7; }, 0, nullptr), 7);
  EXPECT_EQ(failure_text([](int, char**) -> int { throw FormatError("bad file"); }, 3),
            "error: bad file\n");
  EXPECT_THAT(failure_text([](int, char**) -> int { throw std::bad_alloc(); }, 5),
              StartsWith("error: out of memory"));
  EXPECT_EQ(failure_text([](int, char**) -> int { throw std::runtime_error("odd"); }, 1),
            "error: odd\n");
  EXPECT_EQ(failure_text([](int, char**) -> int { throw 3; }, 1).substr(0, 7), "error: ");
}

TEST(RunGuarded, PrintsOneLineOfAtMost512Bytes) {
  const std::string text = failure_text(
      [](int, char**) -> int { throw IoError("a\nb\r\t" + std::string(1000, 'x')); }, 4);
  EXPECT_EQ(text.size(), 512u);
  EXPECT_THAT(text, StartsWith("error: a b  xxx"));
  EXPECT_THAT(text, EndsWith("x...\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(RunGuarded, DoesNotCutInsideACharacter) {
  for (size_t shift = 0; shift < 4; ++shift) {
    static size_t letters;
    letters = shift;
    const std::string text = failure_text(
        [](int, char**) -> int {
          std::string m(letters, 'x');
          for (int i = 0; i < 300; ++i) m += "€";
          throw IoError(m);
        },
        4);
    EXPECT_LE(text.size(), 512u);
    EXPECT_THAT(text, EndsWith("€...\n"));
  }
}

}  // namespace
}  // namespace cria
