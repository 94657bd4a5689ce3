#include "data/wiki_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "data_testing.h"

namespace cria {
namespace {

TEST(WikiText, IsCleanedAndCutAsTheRecipesScriptDoes) {
  const std::string path = std::string(CRIA_SOURCE_DIR) + "/tests/golden/data/wiki_clean.json";
  const Json cases = parse_json(bytes_of_file(path), "test", path);
  ASSERT_GT(cases.size(), 300U);
  for (const Json& c : cases) {
    const std::string clean = clean_wiki_text(c["text"].get<std::string>(), true);
    EXPECT_EQ(clean, c["clean"].get<std::string>()) << c["text"];
    const auto paragraphs = wiki_paragraphs(clean);
    EXPECT_EQ(Json(std::vector<std::string>(paragraphs.begin(), paragraphs.end())), c["paragraphs"])
        << c["text"];
  }
}

TEST(WikiText, TheSlipIsMadeOnlyForCompatibility) {
  EXPECT_EQ(clean_wiki_text("a /' 5/ b", true), "a /'[0-9]/ b");
  EXPECT_EQ(clean_wiki_text("a /' 5/ b", false), "a /' 5/ b");
}

TEST(WikiText, LineEndsAreThoseOfPythonsTextFiles) {
  EXPECT_EQ(clean_wiki_text("a\r\n\r\nb\rc", false), "a\n\nb\nc");
}

TEST(WikiText, ManyUnclosedBracketsTakeLinearTime) {
  const std::string text(2'000'000, '(');
  EXPECT_EQ(clean_wiki_text(text, true).size(), text.size());
}

}  // namespace
}  // namespace cria
