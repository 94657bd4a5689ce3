// Laws: decoding gives the text back, merging equals a slow reference, time stays near-linear.
#include <ctime>
#include <limits>
#include <map>

#include "base/random.h"
#include "base/text.h"
#include "fixtures.h"
#include "tokenizer/byte_pair.h"
#include "tokenizer/load.h"
#include "tokenizer/nfc.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/unicode.h"

namespace cria {
namespace {

// Small enough that pairs often merge, and every class and length of UTF-8 appears.
std::string random_text(uint64_t seed, size_t length) {
  static const std::vector<std::string> parts = {
      "a",        "b",        "e",          "t",        "th",  "the", " ",
      " ",        "\n",       "\r\n",       "'s",       "'LL", "1",   "2026",
      "!",        "?!",       "é",          "\xcc\x81", "你",  "好",  "\xf0\x9f\x99\x82",
      "\xc2\xa0", "\xc5\xbf", "<|eot_id|>", "|>"};
  std::string text;
  for (size_t i = 0; i < length; ++i) text += parts[random_bits(seed, 1, i) % parts.size()];
  return text;
}

class Laws : public testing::TestWithParam<const char*> {
 protected:
  const Tokenizer tokenizer_{load_vocabulary(golden(std::string(GetParam()) + ".tokenizer.json"))};
};
INSTANTIATE_TEST_SUITE_P(Kinds, Laws, testing::Values("llama3", "gpt2"));

TEST_P(Laws, DecodeOfEncodeIsTheText) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const std::string text = random_text(seed, seed % 90);
    ASSERT_EQ(tokenizer_.decode(tokenizer_.encode(text)), text);
    ASSERT_EQ(tokenizer_.decode(tokenizer_.encode(text, {.allow_special = true})), text);
  }
}

TEST_P(Laws, PiecesTileTheText) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const std::string text = random_text(seed, 60);
    for (size_t pos = 0; pos < text.size();) {
      const size_t end = piece_end(tokenizer_.vocabulary().pre_tokenizer, text, pos);
      ASSERT_GT(end, pos);
      ASSERT_LE(end, text.size());
      pos = end;
    }
  }
}

// The definition, in quadratic time: join the leftmost pair of the lowest rank, again and again.
std::vector<TokenId> slow_merge(const Vocabulary& v, std::string_view piece) {
  std::map<std::string, TokenId> ids;
  for (size_t id = 0; id < v.pieces.size(); ++id)
    if (!v.special[id]) ids[v.pieces[id]] = static_cast<TokenId>(id);
  std::map<std::pair<TokenId, TokenId>, size_t> ranks;
  for (size_t i = 0; i < v.merges.size(); ++i) ranks[v.merges[i]] = i;
  std::vector<TokenId> parts;
  for (const char c : piece) parts.push_back(ids.at(std::string(1, c)));
  while (true) {
    size_t best = parts.size(), lowest = std::numeric_limits<size_t>::max();
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto rank = ranks.find({parts[i], parts[i + 1]});
      if (rank != ranks.end() && rank->second < lowest) {
        lowest = rank->second;
        best = i;
      }
    }
    if (best == parts.size()) return parts;
    const auto piece_of = [&](size_t i) { return v.pieces[static_cast<size_t>(parts[i])]; };
    parts[best] = ids.at(piece_of(best) + piece_of(best + 1));
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST_P(Laws, MergingEqualsTheDefinitionForShortAndLongPieces) {
  const BytePairMerger merger(tokenizer_.vocabulary());
  for (const size_t length : {1U, 2U, 10U, 30U, 47U, 48U, 49U, 50U, 120U}) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const std::string piece = random_text(seed, length).substr(0, length);
      std::vector<TokenId> ids;
      merger.merge(piece, ids);
      ASSERT_EQ(ids, slow_merge(tokenizer_.vocabulary(), piece)) << piece;
    }
  }
}

std::string repeated(std::string_view part, size_t size = 1 << 20) {
  std::string text;
  while (text.size() < size) text += part;
  return text;
}

// A quadratic step anywhere would take minutes of processor time here (a busy machine must not
// fail the test); the bound is wide because machines are slow under sanitizers.
TEST_P(Laws, OneMebibyteOfAnythingTakesSeconds) {
  std::string mixed;
  for (uint64_t i = 0; i < 1 << 20; ++i) mixed += "!@#$%^&*()-_=+,.<>/?"[random_bits(1, 2, i) % 20];
  for (const std::string& text :
       {repeated("a"), repeated(" "), repeated("\n"), repeated("\xcc\x81\xcc\xa3"), mixed,
        repeated("<|"), repeated("<|eot_id|"), repeated(" \n"), repeated("1"), repeated("'")}) {
    const std::clock_t start = std::clock();
    const auto ids = tokenizer_.encode(text, {.allow_special = true});
    const double took = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    EXPECT_LT(took, 10.0) << text.substr(0, 10);
    EXPECT_EQ(tokenizer_.decode_bytes(ids), text);
  }
}

TEST(Smollm, DropsOnlyTheBytesItsVocabularyLacks) {
  const Tokenizer tokenizer(load_vocabulary(golden("smollm.tokenizer.json")));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("the \x04 sea")), "the  sea");
}

TEST(Nfc, ComposesAndOrdersMarks) {
  EXPECT_EQ(nfc("e\xcc\x81"), "\xc3\xa9");
  EXPECT_EQ(nfc("a\xcc\x81\xcc\xa3"), "\xe1\xba\xa1\xcc\x81");  // dot below comes before acute
  EXPECT_EQ(nfc("plain"), "plain");
}

TEST(Nfc, TakesLongRunsOfMarks) {
  const std::string text = "a" + repeated("\xcc\x81\xcc\xa3");
  EXPECT_EQ(nfc(text).size(), text.size());
}

TEST(CharClasses, AreTheStandardOnes) {
  EXPECT_EQ(class_of(U'a'), CharClass::letter);
  EXPECT_EQ(class_of(U'你'), CharClass::letter);
  EXPECT_EQ(class_of(U'½'), CharClass::number);
  EXPECT_EQ(class_of(0x3000), CharClass::space);
  EXPECT_EQ(class_of(0x85), CharClass::space);
  EXPECT_EQ(class_of(0x200b), CharClass::other);
  EXPECT_EQ(class_of(0x301), CharClass::other);
  EXPECT_EQ(class_of(0x10ffff), CharClass::other);
}

}  // namespace
}  // namespace cria
