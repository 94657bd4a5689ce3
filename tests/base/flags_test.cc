#include "base/flags.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace cria {
namespace {

struct Parsed {
  std::string train_dataset = "none", config;
  std::optional<bool> resume;
  bool stream = true;
  int64_t seq_length = 1;
  std::vector<std::string> prompts;
  std::vector<std::pair<std::string, std::string>> overrides;

  bool parse(const std::vector<std::string>& words) {
    Flags flags("test", "Tests.", "  test");
    flags.text("train_dataset", train_dataset, "");
    flags.text("train_mode", config, "");
    flags.boolean("resume", resume, "");
    flags.boolean("stream", stream, "");
    flags.integer("seq_length", seq_length, "");
    flags.texts("predict_data", prompts, "");
    flags.alias("train_data", "train_dataset");
    flags.allow_overrides(overrides);
    return flags.parse(words);
  }
};

TEST(Flags, takeDashesUnderscoresEqualsAndPrefixes) {
  Parsed p;
  ASSERT_TRUE(p.parse({"--train-dataset", "a", "--seq_l=7", "--predict_data", "x y", "z"}));
  EXPECT_EQ(p.train_dataset, "a");
  EXPECT_EQ(p.seq_length, 7);
  EXPECT_EQ(p.prompts, (std::vector<std::string>{"x y", "z"}));
}

TEST(Flags, anAliasIsResolvedBeforePrefixes) {
  Parsed p;
  ASSERT_TRUE(p.parse({"--train_data", "b"}));
  EXPECT_EQ(p.train_dataset, "b");
}

TEST(Flags, booleansTakeAnyCaseOrNothing) {
  Parsed p;
  ASSERT_TRUE(p.parse({"--resume", "TRUE", "--stream", "False"}));
  EXPECT_TRUE(p.resume.value_or(false));
  EXPECT_FALSE(p.stream);
  Parsed alone;
  ASSERT_TRUE(alone.parse({"--resume"}));
  EXPECT_TRUE(alone.resume.value_or(false));
  EXPECT_THROW(Parsed().parse({"--resume", "maybe"}), UsageError);
}

TEST(Flags, dottedNamesAreCollected) {
  Parsed p;
  ASSERT_TRUE(p.parse({"--a.b", "1", "--c.d=x=y"}));
  EXPECT_EQ(p.overrides,
            (std::vector<std::pair<std::string, std::string>>{{"a.b", "1"}, {"c.d", "x=y"}}));
  EXPECT_THROW(Parsed().parse({"--a.b"}), UsageError);
  EXPECT_THROW(Parsed().parse({"--a.b", "--c.d=1"}), UsageError);
}

TEST(Flags, mistakesAreNamed) {
  EXPECT_THROW(Parsed().parse({"--train", "x"}), UsageError);  // ambiguous
  EXPECT_THROW(Parsed().parse({"--seq_length", "many"}), UsageError);
  EXPECT_THROW(Parsed().parse({"stray"}), UsageError);
  try {
    Parsed().parse({"--seq_lenght", "1"});
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("try: --seq_length"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace cria
