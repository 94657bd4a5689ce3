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

TEST(WikiText, PiecesOfAnySizeGiveTheSame) {
  const std::string path = std::string(CRIA_SOURCE_DIR) + "/tests/golden/data/wiki_clean.json";
  const Json cases = parse_json(bytes_of_file(path), "test", path);
  std::string all;
  for (const Json& c : cases) all += c["text"].get<std::string>() + "\n\n";
  const std::string clean = clean_wiki_text(all, true, all.size());
  const auto paragraphs = wiki_paragraphs(clean);
  for (const size_t size : {1, 2, 3, 5, 64, 1000}) {
    EXPECT_TRUE(clean_wiki_text(all, true, size) == clean) << size;
    WikiParagraphs stream(all, true, size);
    std::string paragraph;
    size_t n = 0;
    for (; stream.next(paragraph); ++n) ASSERT_EQ(paragraph, paragraphs[n]) << size;
    EXPECT_EQ(n, paragraphs.size()) << size;
    EXPECT_EQ(stream.position(), all.size());
  }
  for (const Json& c : cases)
    EXPECT_EQ(clean_wiki_text(c["text"].get<std::string>(), true, 1), c["clean"].get<std::string>())
        << c["text"];
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
