#include "base/text.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

const std::string kReplacement = "\xef\xbf\xbd";

TEST(Utf8, FindsTheFirstInvalidByte) {
  EXPECT_EQ(find_invalid_utf8("plain, é, €, 😀"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2u);                  // continuation alone
  EXPECT_EQ(find_invalid_utf8("\xc0\xaf"), 0u);                // overlong
  EXPECT_EQ(find_invalid_utf8("\xe0\x9f\xbf"), 0u);            // overlong
  EXPECT_EQ(find_invalid_utf8("\xf0\x8f\xbf\xbf"), 0u);        // overlong
  EXPECT_EQ(find_invalid_utf8("a\xed\xa0\x80"), 1u);           // surrogate
  EXPECT_EQ(find_invalid_utf8("\xed\x9f\xbf"), std::nullopt);  // the last before surrogates
  EXPECT_EQ(find_invalid_utf8("\xf4\x8f\xbf\xbf"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);  // beyond U+10FFFF
  EXPECT_EQ(find_invalid_utf8("\xf5\x80\x80\x80"), 0u);
  EXPECT_EQ(find_invalid_utf8("abc\xe2\x82"), 3u);  // cut short
}

TEST(Utf8, EveryCodePointSurvivesEncodingAndDecoding) {
  for (char32_t c = 0; c <= 0x10ffff; c += (c < 0x3000 ? 1 : 61)) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string text;
    append_utf8(text, c);
    ASSERT_EQ(find_invalid_utf8(text), std::nullopt) << static_cast<uint32_t>(c);
    size_t pos = 0;
    ASSERT_EQ(next_code_point(text, pos), c);
    ASSERT_EQ(pos, text.size());
  }
}

// What Python's bytes.decode("utf-8", errors="replace") gives: one U+FFFD per maximal part.
TEST(Utf8, ReplacesEachMaximalInvalidPartOnce) {
  const auto replaced = [](size_t n) {
    std::string out;
    for (size_t i = 0; i < n; ++i) out += kReplacement;
    return out;
  };
  EXPECT_EQ(replace_invalid_utf8("a\xe2\x82z"), "a" + replaced(1) + "z");
  EXPECT_EQ(replace_invalid_utf8("\xf0\x9f\x98"), replaced(1));
  EXPECT_EQ(replace_invalid_utf8("\xf0\x9f\x98"
                                 "\xf0\x9f\x98\x80"),
            replaced(1) + "😀");
  EXPECT_EQ(replace_invalid_utf8("\x80\x80"), replaced(2));
  EXPECT_EQ(replace_invalid_utf8("\xed\xa0\x80"), replaced(3));
  EXPECT_EQ(replace_invalid_utf8("\xc0\xaf"), replaced(2));
  EXPECT_EQ(replace_invalid_utf8("\xe0\x80\x80"), replaced(3));
  EXPECT_EQ(replace_invalid_utf8("\xf4\x90\x80\x80"), replaced(4));
  EXPECT_EQ(replace_invalid_utf8("\xff\xfe"), replaced(2));
  EXPECT_EQ(replace_invalid_utf8("é€"), "é€");
}

TEST(Utf8, CompletePrefixStopsBeforeACharacterThatMayStillGrow) {
  EXPECT_EQ(complete_utf8_prefix("abc"), 3u);
  EXPECT_EQ(complete_utf8_prefix(""), 0u);
  EXPECT_EQ(complete_utf8_prefix("ab\xe2"), 2u);
  EXPECT_EQ(complete_utf8_prefix("ab\xe2\x82"), 2u);
  EXPECT_EQ(complete_utf8_prefix("ab\xe2\x82\xac"), 5u);
  EXPECT_EQ(complete_utf8_prefix("\xf0\x9f\x98"), 0u);
  EXPECT_EQ(complete_utf8_prefix("a\x80"), 2u);      // never valid: nothing to wait for
  EXPECT_EQ(complete_utf8_prefix("a\xed\xa0"), 3u);  // a surrogate: nothing to wait for
  EXPECT_EQ(complete_utf8_prefix("a\xff"), 2u);
}

TEST(Nearest, FindsTypingErrorsAndNothingElse) {
  const std::vector<std::string> names = {"learning_rate", "batch_size", "seed"};
  EXPECT_EQ(nearest("learning_rat", names), "learning_rate");
  EXPECT_EQ(nearest("bathc_size", names), "batch_size");
  EXPECT_EQ(nearest("sed", names), "seed");
  EXPECT_EQ(nearest("optimizer", names), std::nullopt);
  EXPECT_EQ(nearest("x", {}), std::nullopt);
}

}  // namespace
}  // namespace cria
