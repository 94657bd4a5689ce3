#include "data/alpaca.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data_testing.h"

namespace cria {
namespace {

using testing::HasSubstr;

const std::string kGolden = std::string(CRIA_SOURCE_DIR) + "/tests/golden/data/";

TEST(ConvertAlpaca, WritesTheRecipesBytesForOddRecords) {
  const ScratchFolder folder;
  EXPECT_EQ(convert_alpaca(kGolden + "alpaca_edge.json", folder / "out.json"), 22);
  EXPECT_EQ(bytes_of_file(folder / "out.json"),
            bytes_of_file(kGolden + "alpaca_edge.conversation.json"));
}

TEST(ConvertAlpaca, AnEmptyArrayStaysOne) {
  const ScratchFolder folder;
  EXPECT_EQ(convert_alpaca(folder.write("in.json", " [ ] \n"), folder / "out.json"), 0);
  EXPECT_EQ(bytes_of_file(folder / "out.json"), "[]");
}

TEST(ConvertAlpaca, JsonLinesGiveTheSameAsAnArray) {
  const ScratchFolder folder;
  const std::string a = R"({"instruction":"a","output":"b"})";
  const std::string b = R"({"instruction":"c","input":" ","output":"d","extra":[1,{"x":null}]})";
  convert_alpaca(folder.write("a.json", "[" + a + " ,\n" + b + "]"), folder / "a.out");
  convert_alpaca(folder.write("l.json", a + "\r\n\n" + b), folder / "l.out");
  EXPECT_EQ(bytes_of_file(folder / "a.out"), bytes_of_file(folder / "l.out"));
  EXPECT_THAT(bytes_of_file(folder / "a.out"), HasSubstr("### Input:\\n \\n\\n### Response:"));
}

TEST(ConvertAlpaca, ANullInputIsNoInput) {
  const ScratchFolder folder;
  convert_alpaca(folder.write("in.json", R"([{"instruction":"a","input":null,"output":"b"}])"),
                 folder / "out.json");
  EXPECT_THAT(bytes_of_file(folder / "out.json"), testing::Not(HasSubstr("### Input:")));
}

TEST(ConvertAlpaca, MayReplaceItsOwnInput) {
  const ScratchFolder folder;
  const std::string path = folder.write("x.json", R"([{"instruction":"a","output":"b"}])");
  convert_alpaca(path, path);
  EXPECT_THAT(bytes_of_file(path), HasSubstr("\"from\": \"gpt\""));
}

const std::string kGood = R"({"instruction":"a","output":"b"})";

TEST(ConvertAlpaca, LeavesOutAsManyBadRecordsAsAllowedAndNamesEach) {
  const ScratchFolder folder;
  const std::string in = folder.write(
      "in.jsonl", "no json\n" + kGood + "\n{\"instruction\":7}\n" + kGood + "\n{\"a\":\n");
  convert_alpaca(folder.write("good.jsonl", kGood + "\n" + kGood), folder / "good.json");
  BadRecords three(3);
  testing::internal::CaptureStderr();
  EXPECT_EQ(convert_alpaca(in, folder / "out.json", {}, &three), 2);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(three.skipped(), 3);
  EXPECT_EQ(bytes_of_file(folder / "out.json"), bytes_of_file(folder / "good.json"));
  for (const char* line : {"record 0 (line 1, from byte 0)", "record 2 (line 3, from byte 41)",
                           "record 4 (line 5, from byte 92)"})
    EXPECT_THAT(said, HasSubstr(std::string("warning: skipped: read ") + line + ": " + in));

  BadRecords two(2);
  testing::internal::CaptureStderr();
  try {
    convert_alpaca(in, folder / "none.json", {}, &two);
    ADD_FAILURE() << "the third bad record was taken";
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr("line 5"));
    EXPECT_THAT(e.what(), HasSubstr("skipped before it: 2"));
  }
  testing::internal::GetCapturedStderr();
  EXPECT_FALSE(std::filesystem::exists(folder / "none.json"));
}

TEST(ConvertAlpaca, SkipsARecordOfAnArrayButNoBrokenArray) {
  const ScratchFolder folder;
  BadRecords many(100);
  const std::string one = "[" + kGood + ",{\"x\":1}," + kGood + "]";
  EXPECT_EQ(convert_alpaca(folder.write("a.json", one), folder / "a.out", {}, &many), 2);
  EXPECT_EQ(many.skipped(), 1);
  for (const std::string& text :
       {"[" + kGood + " " + kGood + "]", "[" + kGood, "[" + kGood + ",7]"})
    EXPECT_THROW(convert_alpaca(folder.write("b.json", text), folder / "b.out", {}, &many),
                 FormatError);
}

TEST(ConvertAlpaca, HoldsOneRecordAtATime) {
  const ScratchFolder folder;
  std::string text = "[";
  for (int i = 0; i < 20000; ++i)
    text += std::string(i == 0 ? "" : ",") + R"({"instruction":"say )" + std::to_string(i) +
            R"(","input":"","output":"said"})";
  uint64_t last = 0;
  bool ordered = true;
  const int64_t n = convert_alpaca(folder.write("in.json", text + "]"), folder / "out.json",
                                   [&](uint64_t done, uint64_t total) {
                                     ordered = ordered && done >= last && done <= total;
                                     last = done;
                                   });
  EXPECT_EQ(n, 20000);
  EXPECT_TRUE(ordered);
  EXPECT_EQ(last, text.size() + 1);
}

struct Bad {
  std::string name, text, reason;
};

// Named so that the list reads as what is refused.
std::vector<Bad> bad_files() {
  const std::string ok = R"({"instruction":"a","output":"b"})";
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += '[';
  return {
      {"Empty", "", "the file holds nothing"},
      {"OnlySpace", " \n\t ", "the file holds nothing"},
      {"NotJson", "instruction: a", "not JSON data"},
      {"ByteOrderMark", "\xef\xbb\xbf[" + ok + "]", "not JSON data"},
      {"NumberAtTop", "17", "not JSON data"},
      {"StringAtTop", "\"[]\"", "not JSON data"},
      {"UnclosedArray", "[" + ok, "`,` or `]`"},
      {"UnclosedEmptyArray", "[", "record 0 is broken"},
      {"TrailingComma", "[" + ok + ",]", "record 1 is broken"},
      {"LeadingComma", "[," + ok + "]", "record 0 is broken"},
      {"NoComma", "[" + ok + ok + "]", "`,` or `]`"},
      {"TailAfterArray", "[" + ok + "] x", "more follows the array"},
      {"SecondArray", "[" + ok + "][]", "more follows the array"},
      {"NumberAsRecord", "[" + ok + ",5]", "record 1 is broken"},
      {"NullAsRecord", "[null]", "record 0 is broken"},
      {"ArrayAsRecord", "[[1]]", "record 0 is broken"},
      {"UnclosedRecord", R"([{"instruction":"a")", "the file ends inside record 0"},
      {"UnclosedString", R"([{"instruction":"a}])", "the file ends inside record 0"},
      {"BackslashAtEnd", "[{\"instruction\":\"a\\", "the file ends inside record 0"},
      {"MissingInstruction", R"([{"output":"b"}])", "`instruction` is missing"},
      {"MissingOutput", "[" + ok + R"(,{"instruction":"a"}])", "record 1"},
      {"InstructionIsNumber", R"([{"instruction":1,"output":"b"}])", "a string, found number"},
      {"OutputIsList", R"([{"instruction":"a","output":["b"]}])", "a string, found array"},
      {"OutputIsNull", R"([{"instruction":"a","output":null}])", "a string, found null"},
      {"InputIsObject", R"([{"instruction":"a","input":{},"output":"b"}])", "found object"},
      {"DuplicateKey", R"([{"instruction":"a","instruction":"c","output":"b"}])", "appears twice"},
      {"DuplicateKeyDeeper", R"([{"instruction":"a","output":"b","x":{"y":1,"y":2}}])",
       "appears twice"},
      {"DuplicateKeyByEscape", R"([{"instruction":"a","instructio\u006e":"c","output":"b"}])",
       "appears twice"},
      {"LoneHighSurrogate", R"([{"instruction":"\ud800","output":"b"}])", "at byte"},
      {"LoneLowSurrogate", R"([{"instruction":"\udc00 x","output":"b"}])", "at byte"},
      {"RawSurrogate", "[{\"instruction\":\"\xed\xa0\x80\",\"output\":\"b\"}]", "not valid UTF-8"},
      {"CutCodePoint", "[{\"instruction\":\"\xc3\",\"output\":\"b\"}]", "not valid UTF-8"},
      {"OverlongSlash", "[{\"instruction\":\"\xc0\xaf\",\"output\":\"b\"}]", "not valid UTF-8"},
      {"RawNewlineInString", "[{\"instruction\":\"a\nb\",\"output\":\"b\"}]", "not valid JSON"},
      {"RawNulInString", std::string("[{\"instruction\":\"a\0b\",\"output\":\"b\"}]", 37),
       "not valid JSON"},
      {"BadEscape", R"([{"instruction":"\x41","output":"b"}])", "not valid JSON"},
      {"ShortEscape", R"([{"instruction":"\u41","output":"b"}])", "not valid JSON"},
      {"NotANumber", R"([{"instruction":"a","output":"b","x":NaN}])", "not valid JSON"},
      {"HugeInteger", R"([{"instruction":"a","output":"b","x":99999999999999999999}])",
       "out of range"},
      {"SingleQuotes", "[{'instruction':'a','output':'b'}]", "not valid JSON"},
      {"Comment", "[{/* x */\"instruction\":\"a\",\"output\":\"b\"}]", "not valid JSON"},
      {"TooDeep",
       R"([{"instruction":"a","output":"b","x":)" + deep + "1" + std::string(deep.size(), ']') +
           "}]",
       "nested deeper"},
      {"CrossedBrackets", R"([{"instruction":"a","output":"b","x":[}]}])", "not valid JSON"},
      {"BadLine", ok + "\n{\"instruction\":\n", "line 2"},
      {"LineWithTail", ok + " " + ok + "\n", "line 1"},
      {"LineOfArray", ok + "\n[1]\n", "an object"},
  };
}

class BadAlpaca : public testing::TestWithParam<Bad> {};

TEST_P(BadAlpaca, IsRefusedInOneLineAndLeavesNoOutput) {
  const ScratchFolder folder;
  const std::string in = folder.write("in.json", GetParam().text);
  try {
    convert_alpaca(in, folder / "out.json");
    FAIL() << "accepted";
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr(GetParam().reason));
    EXPECT_THAT(e.what(), HasSubstr(in));
    EXPECT_THAT(e.what(), HasSubstr("byte"));
    EXPECT_EQ(std::string_view(e.what()).find('\n'), std::string_view::npos);
  }
  EXPECT_EQ(folder.entries(), 1U) << "only the input may be there";
}

INSTANTIATE_TEST_SUITE_P(Files, BadAlpaca, testing::ValuesIn(bad_files()),
                         [](const auto& bad) { return bad.param.name; });

TEST(ConvertAlpaca, SaysWhyAFileCannotBeOpened) {
  const ScratchFolder folder;
  EXPECT_THROW(convert_alpaca(folder / "none.json", folder / "out.json"), IoError);
  EXPECT_THROW(convert_alpaca(folder / "", folder / "out.json"), IoError);
  const std::string in = folder.write("in.json", "[]");
  EXPECT_THROW(convert_alpaca(in, folder / "no/such/out.json"), IoError);
}

}  // namespace
}  // namespace cria
