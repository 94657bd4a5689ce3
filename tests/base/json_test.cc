#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace cria {
namespace {

using testing::HasSubstr;

Json parse(std::string_view text) { return parse_json(text, "parse", "x.json"); }

std::string failure(std::string_view text, int64_t base = 0) {
  try {
    parse_json(text, "parse", "x.json", base);
  } catch (const FormatError& e) {
    return e.what();
  }
  return "";
}

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(ParseJson, ReadsValuesAndKeepsTheOrderOfKeys) {
  const Json j = parse(R"( {"z": 1, "a": [true, null, -2.5e3, "\u00e9\ud83d\ude00"], "m": {}} )");
  EXPECT_EQ(j.dump(), "{\"z\":1,\"a\":[true,null,-2500.0,\"é😀\"],\"m\":{}}");
  EXPECT_EQ(parse("18446744073709551615").get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse("-9223372036854775808").get<int64_t>(), INT64_MIN);
  EXPECT_EQ(parse("\"\"").get<std::string>(), "");
}

TEST(ParseJson, RefusesWhatIsNotStrictJson) {
  const std::vector<std::string> bad = {
      "",
      " ",
      "{",
      "[1,]",
      "{\"a\":1,}",
      "{a:1}",
      "{'a':1}",
      "{\"a\" 1}",
      "[1] x",
      "{} {}",
      "[1]]",
      "// c\n1",
      "/* c */ 1",
      "NaN",
      "Infinity",
      "-Infinity",
      "nan",
      "1e400",
      "-1e400",
      "01",
      "+1",
      ".5",
      "1.",
      "0x10",
      "1e",
      "\"\\x41\"",
      "\"\\ud800\"",
      "\"\\udc00\"",
      "\"\\ud800\\u0041\"",
      "\"\\ud83d\"",
      "\"a\nb\"",
      "\"open",
      "True",
      "tru",
      std::string("{}\0", 3),
      std::string("{}\0garbage", 10),
      std::string("[1,\0 2]", 7),
      "\"\xff\"",
      "\"\xed\xa0\x80\"",
      "{\"a\":1,\"a\":2}",
      "{\"a\":{\"b\":1,\"b\":1}}",
      "{\"a\":1,\"\\u0061\":2}",
      "18446744073709551616",
      "-9223372036854775809",
      "123456789012345678901234567890",
      nested(65),
      std::string(100000, '['),
  };
  for (const std::string& text : bad) {
    EXPECT_THROW(parse(text), FormatError) << escaped(text, 60);
  }
}

TEST(ParseJson, SkipsAByteOrderMark) { EXPECT_EQ(parse("\xef\xbb\xbf[1]").dump(), "[1]"); }

TEST(ParseJson, AllowsNestingUpTo64) { EXPECT_NO_THROW(parse(nested(64))); }

TEST(ParseJson, AKeyMayAppearAgainInAnotherObject) {
  EXPECT_NO_THROW(parse(R"([{"a":1},{"a":2},{"b":{"a":3}}])"));
}

TEST(ParseJson, SaysWhatWhereAndWhy) {
  EXPECT_EQ(failure("{\"a\":1,\"a\":2}"), "parse: x.json at byte 7: key \"a\" appears twice");
  EXPECT_EQ(failure(R"({"a\"b\\": 1, "c": 2, "a\"b\\" : 2})"),
            R"(parse: x.json at byte 22: key "a"b\x5c" appears twice)");
  EXPECT_THAT(failure("[1, x]"), HasSubstr("parse: x.json at byte 4: not valid JSON"));
  EXPECT_THAT(failure("[1, x]", 1000), HasSubstr("at byte 1004:"));
  EXPECT_EQ(failure("\"\xff\""), "parse: x.json at byte 1: not valid UTF-8, found \\xff\"");
  EXPECT_THAT(failure(nested(65)), HasSubstr("at byte 64: nested deeper than 64"));
  EXPECT_THAT(failure("[99999999999999999999]"),
              HasSubstr("at byte 1: integer 99999999999999999999 is out of range"));
  EXPECT_THAT(failure("99999999999999999999", 5), HasSubstr("at byte 5: integer"));
  EXPECT_THAT(failure(std::string("[1]\0", 4)), HasSubstr("at byte 3: not valid JSON, a NUL"));
}

}  // namespace
}  // namespace cria
