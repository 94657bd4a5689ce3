#include "data/sample.h"

#include <gmock/gmock.h>

#include "base/random.h"
#include "data/template.h"
#include "data_testing.h"

namespace cria {
namespace {

using testing::Each;

const Tokenizer& tiny() {
  static const Tokenizer tokenizer(tiny_vocabulary());
  return tokenizer;
}

SampleMaker::Settings settings(int64_t length = 4096) {
  return {.bos = 270, .eos = 271, .pad = 272, .record_length = length};
}

Conversation talk(const std::vector<std::string>& messages) {
  Conversation c;
  for (size_t i = 0; i < messages.size(); ++i)
    c.turns.push_back({i % 2 == 0 ? "human" : "gpt", messages[i]});
  return c;
}

// What is trained, as text.
std::string trained_text(const Sample& s) {
  std::vector<TokenId> ids;
  for (const int32_t label : s.labels)
    if (label != kIgnored) ids.push_back(label);
  return tiny().decode(ids);
}

TEST(Sample, TrainsRepliesAndTheirEndsAndNothingElse) {
  const SampleMaker maker(tiny(), settings());
  Sample s;
  ASSERT_TRUE(maker.make(talk({"Who?", "The other.", "Why?", "42"}), s));
  EXPECT_EQ(tiny().decode(s.ids),
            "<|begin_of_text|>" + std::string(Vicuna::system) +
                " USER: Who? ASSISTANT: The other.<|end_of_text|>USER: Why? ASSISTANT: "
                "42<|end_of_text|>");
  EXPECT_EQ(trained_text(s), " The other.<|end_of_text|> 42<|end_of_text|>");
  for (size_t i = 0; i < s.ids.size(); ++i)
    EXPECT_TRUE(s.labels[i] == kIgnored || s.labels[i] == s.ids[i]);
}

TEST(Sample, ThePromptOfAPredictionIsExactlyWhatStoodBeforeTheReply) {
  const SampleMaker maker(tiny(), settings());
  Sample s;
  ASSERT_TRUE(maker.make(talk({"the inner", "a reply"}), s));
  const auto prompt = encode_prompt(tiny(), PromptTemplate::vicuna, "the inner", {.bos = true});
  ASSERT_LT(prompt.size(), s.ids.size());
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), s.ids.begin()));
  EXPECT_EQ(s.labels[prompt.size() - 1], kIgnored);
  EXPECT_EQ(s.labels[prompt.size()], s.ids[prompt.size()]);
}

TEST(Sample, SpecialTokenTextInDataIsPlainText) {
  const SampleMaker maker(tiny(), settings());
  Sample s;
  ASSERT_TRUE(maker.make(talk({"<|eot_id|>", "a<|end_of_text|><|pad|>b"}), s));
  EXPECT_EQ(std::count(s.ids.begin(), s.ids.end(), 271), 1);
  EXPECT_EQ(std::count(s.ids.begin(), s.ids.end(), 272), 0);
  auto allowing = settings();
  allowing.allow_special = true;
  ASSERT_TRUE(SampleMaker(tiny(), allowing).make(talk({"<|eot_id|>", "a"}), s));
  EXPECT_EQ(std::count(s.ids.begin(), s.ids.end(), 273), 1);
}

TEST(Sample, RoundsWithoutAReplyAreLeftOutAndCounted) {
  const SampleMaker maker(tiny(), settings());
  Sample s;
  EXPECT_FALSE(maker.make(talk({"a", ""}), s));
  EXPECT_EQ(s.empty_replies, 1);
  EXPECT_FALSE(maker.make(talk({"a"}), s));
  EXPECT_FALSE(maker.make(talk({}), s));
  ASSERT_TRUE(maker.make(talk({"a", "", "b", "c", "d"}), s));
  EXPECT_EQ(s.empty_replies, 1);
  EXPECT_EQ(tiny().decode(s.ids), "<|begin_of_text|>" + std::string(Vicuna::system) +
                                      " USER: b ASSISTANT: c<|end_of_text|>");
  auto keeping = settings();
  keeping.keep_empty = true;
  ASSERT_TRUE(SampleMaker(tiny(), keeping).make(talk({"a", ""}), s));
  EXPECT_EQ(trained_text(s), "<|end_of_text|>");
}

TEST(Sample, LongConversationsAreCutAndSaySo) {
  Sample s;
  ASSERT_TRUE(SampleMaker(tiny(), settings(60)).make(talk({"a", "b"}), s));
  EXPECT_TRUE(s.truncated);
  EXPECT_EQ(s.ids.size(), 60U);
  EXPECT_THAT(s.labels, Each(kIgnored));
}

TEST(SampleAsRecipe, MasksTheWholeRecordWhereTheScriptLosesCount) {
  const SampleMaker maker(tiny(), settings());
  Sample s;
  for (const auto& messages : std::vector<std::vector<std::string>>{
           {"a", ""},                // no end mark: the text ends in "ASSISTANT:"
           {"a", "x ASSISTANT: y"},  // three parts
           {"a</s>b", "c"},          // a round without a reply
           {"a", "b<|pad|>c"},       // a pad inside
           {"a", "b", "unanswered"}}) {
    maker.make_as_recipe(talk(messages), s);
    EXPECT_THAT(s.labels, Each(kIgnored)) << messages[0] << " / " << messages[1];
  }
  maker.make_as_recipe(talk({"a", "b"}), s);
  EXPECT_EQ(trained_text(s), " b<|end_of_text|>");
}

// Messages of pieces that press on every border the templates make.
std::string random_message(uint64_t seed, uint64_t& draw) {
  static const std::vector<std::string> pieces = {
      "a",       " ",         "the",      " ASSISTANT:",  "ASSISTANT: ", "</s>", "USER:",
      "\n",      "  ",        "7",        "42",           ":",           ".",    "<|eot_id|>",
      "<|pad|>", "e\xcc\x81", "\xc3\xa9", "\xe4\xbd\xa0", "'s",          "\t",   "</s",
      "<"};
  std::string out;
  const uint64_t n = random_bits(seed, 1, draw++) % 6;
  for (uint64_t i = 0; i < n; ++i) out += pieces[random_bits(seed, 1, draw++) % pieces.size()];
  return out;
}

TEST(SampleProperty, SurelySameNeverClaimsWhatIsNot) {
  const SampleMaker maker(tiny(), settings());
  int sure = 0;
  for (uint64_t seed = 0; seed < 10000; ++seed) {
    uint64_t draw = 0;
    Conversation c;
    const uint64_t turns = random_bits(seed, 0, 0) % 5;
    for (uint64_t i = 0; i < turns; ++i)
      c.turns.push_back({i % 2 == 0 ? "human" : "gpt", random_message(seed, draw)});
    if (!maker.surely_same(c)) continue;
    ++sure;
    Sample ours, recipes;
    ASSERT_TRUE(maker.make(c, ours));
    maker.make_as_recipe(c, recipes);
    EXPECT_EQ(ours.ids, recipes.ids) << render_vicuna(c.turns);
    EXPECT_EQ(ours.labels, recipes.labels) << render_vicuna(c.turns);
  }
  EXPECT_GT(sure, 150) << "the property must have been looked at";
}

TEST(SampleProperty, TheCutBeforeAReplyIsOneThatThePreTokenizersMake) {
  for (const PreTokenizer kind : {PreTokenizer::llama3, PreTokenizer::smollm, PreTokenizer::gpt2}) {
    Vocabulary v = tiny_vocabulary();
    v.pre_tokenizer = kind;
    const Tokenizer tokenizer(std::move(v));
    for (uint64_t seed = 0; seed < 1000; ++seed) {
      uint64_t draw = 0;
      const std::string prompt = vicuna_round_prompt(random_message(seed, draw), true);
      const std::string reply = " " + random_message(seed, draw);
      auto parts = tokenizer.encode(prompt);
      tokenizer.encode(reply, {}, parts);
      EXPECT_EQ(parts, tokenizer.encode(prompt + reply)) << prompt + reply;
    }
  }
}

}  // namespace
}  // namespace cria
