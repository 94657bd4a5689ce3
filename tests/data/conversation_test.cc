#include "data/conversation.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/alpaca.h"
#include "data_testing.h"

namespace cria {
namespace {

using testing::HasSubstr;

Conversation parse_one(std::string_view text) {
  JsonRecords records(text, "memory");
  JsonRecord record;
  EXPECT_TRUE(records.next(record));
  return parse_conversation(records, record);
}

std::string turn(std::string_view from, std::string_view value) {
  return fmt::format(R"({{"from":"{}","value":"{}"}})", from, value);
}

TEST(ParseConversation, TakesTurnsAndId) {
  const Conversation c = parse_one(R"([{"id":"7","conversations":[)" + turn("human", "a") + "," +
                                   turn("gpt", "b") + "]}]");
  EXPECT_EQ(c.id, "7");
  ASSERT_EQ(c.turns.size(), 2U);
  EXPECT_EQ(c.turns[1].value, "b");
}

TEST(ParseConversation, DropsAFirstTurnThatIsNotTheHumans) {
  const Conversation c = parse_one(R"([{"conversations":[)" + turn("gpt", "hello") + "," +
                                   turn("human", "a") + "," + turn("gpt", "b") + "]}]");
  ASSERT_EQ(c.turns.size(), 2U);
  EXPECT_EQ(c.turns[0].value, "a");
}

TEST(ParseConversation, TakesAnAlpacaRecordAsTheConverterWould) {
  const Conversation c = parse_one(R"([{"instruction":"i","input":"n","output":"o"}])");
  ASSERT_EQ(c.turns.size(), 2U);
  EXPECT_EQ(c.turns[0].value, alpaca_prompt("i", "n"));
  EXPECT_EQ(c.turns[1].value, "o");
}

struct Bad {
  std::string name, record, reason;
};

class BadConversation : public testing::TestWithParam<Bad> {};

TEST_P(BadConversation, NamesTheRecordAndTheReason) {
  const std::string good = R"({"conversations":[)" + turn("human", "a") + "]}";
  const std::string text = "[" + good + ",\n" + GetParam().record + "]";
  try {
    JsonRecords file(text, "memory");
    for (JsonRecord record; file.next(record);) parse_conversation(file, record);
    FAIL() << "accepted";
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr("record 1"));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().reason));
    EXPECT_EQ(std::string_view(e.what()).find('\n'), std::string_view::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Records, BadConversation,
    testing::Values(
        Bad{"NoConversations", R"({"id":"1"})", "`conversations` is missing"},
        Bad{"EmptyConversations", R"({"conversations":[]})", "at least one turn"},
        Bad{"NotAList", R"({"conversations":{}})", "an array, found object"},
        Bad{"TurnIsText", R"({"conversations":["hi"]})", "turn 0 is broken"},
        Bad{"UnknownSpeaker", R"({"conversations":[{"from":"user","value":"x"}]})",
            "human or gpt, found \"user\""},
        Bad{"SystemSpeaker", R"({"conversations":[{"from":"system","value":"x"}]})",
            "unknown `from`"},
        Bad{"NoSpeaker", R"({"conversations":[{"value":"x"}]})", "`from` is missing"},
        Bad{"NoText", R"({"conversations":[{"from":"human"}]})", "`value` is missing"},
        Bad{"TextIsNumber", R"({"conversations":[{"from":"human","value":3}]})", "found number"},
        Bad{"TwiceTheHuman",
            R"({"conversations":[{"from":"human","value":"x"},{"from":"human","value":"y"}]})",
            "turn 1 is out of order, expected gpt, found human"},
        Bad{"TwiceTheModel",
            R"({"conversations":[{"from":"gpt","value":"x"},{"from":"gpt","value":"y"}]})",
            "turn 1 is out of order, expected human, found gpt"}),
    [](const auto& bad) { return bad.param.name; });

TEST(ConversationReader, ReadsToTheEndAndChecksIt) {
  const ScratchFolder folder;
  const std::string one = R"({"conversations":[)" + turn("human", "a") + "]}";
  Conversation c;
  ConversationReader good(folder.write("a.json", "[" + one + "," + one + "]\n"));
  EXPECT_TRUE(good.next(c));
  EXPECT_TRUE(good.next(c));
  EXPECT_FALSE(good.next(c));
  ConversationReader bad(folder.write("b.json", "[" + one + "]]"));
  EXPECT_TRUE(bad.next(c));
  EXPECT_THROW(bad.next(c), FormatError);
}

}  // namespace
}  // namespace cria
