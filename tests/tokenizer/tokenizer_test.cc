// Encoding and decoding against the golden rows of tiktoken and llama.cpp.
#include "tokenizer/tokenizer.h"

#include "base/error.h"
#include "base/text.h"
#include "fixtures.h"
#include "tokenizer/load.h"
#include "tokenizer/pre_tokenizer.h"

namespace cria {
namespace {

const Tokenizer& llama3() {
  static const Tokenizer tokenizer(load_vocabulary(fixture("tokenizer.model")));
  return tokenizer;
}

// ids without specials; ids_special with them; ids_nfc after NFC, with specials: each is given only
// where it differs from the one before.
void expect_row(const Tokenizer& tokenizer, const Json& row) {
  const std::string text = row.at("text").get<std::string>();
  std::vector<TokenId> expected = ids_of(row);
  ASSERT_EQ(tokenizer.encode(text), expected) << row.at("i");
  if (row.contains("ids_special")) expected = ids_of(row, "ids_special");
  ASSERT_EQ(tokenizer.encode(text, {.allow_special = true}), expected) << row.at("i");
  if (row.contains("ids_nfc")) expected = ids_of(row, "ids_nfc");
  ASSERT_EQ(tokenizer.encode(text, {.allow_special = true, .nfc = true}), expected) << row.at("i");
  ASSERT_EQ(tokenizer.decode(ids_of(row)), text) << row.at("i");
}

class Vectors : public testing::TestWithParam<std::pair<const char*, const char*>> {};
TEST_P(Vectors, EncodeAsTiktokenAndDecodeToTheText) {
  CRIA_NEED_FIXTURES();
  const Tokenizer tokenizer(load_vocabulary(fixture(GetParam().first)));
  for (const Json& row : rows(fixture(GetParam().second))) expect_row(tokenizer, row);
}
INSTANTIATE_TEST_SUITE_P(Fixtures, Vectors,
                         testing::Values(std::pair("tokenizer.model", "vectors.jsonl"),
                                         std::pair("tokenizer.model", "llama-bpe.jsonl"),
                                         std::pair("tiny-512.model", "tiny-512.vectors.jsonl"),
                                         std::pair("tiny-2048.model", "tiny-2048.vectors.jsonl")));

TEST(PreTokenizerLlama3, CutsAsTwoRegexEnginesDo) {
  CRIA_NEED_FIXTURES();
  for (const Json& row : rows(fixture("pieces.jsonl"))) {
    const std::string text = row.at("text").get<std::string>();
    std::vector<std::string> pieces;
    for (size_t pos = 0; pos < text.size();) {
      const size_t end = piece_end(PreTokenizer::llama3, text, pos);
      ASSERT_GT(end, pos);
      pieces.push_back(text.substr(pos, end - pos));
      pos = end;
    }
    ASSERT_EQ(pieces, row.at("pieces").get<std::vector<std::string>>()) << row.at("i");
  }
}

TEST(Decode, GivesTheBytesAndReplacesWhatIsNoText) {
  CRIA_NEED_FIXTURES();
  for (const Json& row : rows(fixture("decode.jsonl"))) {
    const std::vector<TokenId> ids = ids_of(row);
    std::string hex;
    for (const char c : llama3().decode_bytes(ids))
      hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
    ASSERT_EQ(hex, row.at("bytes").get<std::string>()) << row.at("i");
    ASSERT_EQ(llama3().decode(ids), row.at("text").get<std::string>()) << row.at("i");
    if (row.contains("text_skip_special")) {
      ASSERT_EQ(llama3().decode(ids, true), row.at("text_skip_special").get<std::string>())
          << row.at("i");
    }
  }
}

TEST(StreamDecoder, GivesTheSameTextAsDecodingAtOnceAndOnlyWholeCharacters) {
  CRIA_NEED_FIXTURES();
  for (const Json& row : rows(fixture("decode.jsonl"))) {
    StreamDecoder stream(llama3(), false);
    std::string text;
    for (const TokenId id : ids_of(row)) {
      const std::string part = stream.put(id);
      ASSERT_FALSE(find_invalid_utf8(part)) << row.at("i");
      text += part;
    }
    text += stream.end();
    ASSERT_EQ(text, row.at("text").get<std::string>()) << row.at("i");
  }
}

TEST(Encode, AddsBosAndEosOnlyWhenAsked) {
  CRIA_NEED_FIXTURES();
  EXPECT_EQ(llama3().encode("Hello world", {.bos = true, .eos = true}),
            (std::vector<TokenId>{128000, 9906, 1917, 128001}));
  EXPECT_EQ(llama3().encode(""), std::vector<TokenId>{});
}

TEST(Encode, RefusesTextThatIsNotUtf8) {
  CRIA_NEED_FIXTURES();
  try {
    (void)llama3().encode("abc\xff");
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_STREQ(e.what(), "encode text at byte 3: not valid UTF-8, found \\xff");
  }
}

TEST(Decode, RefusesIdsOutsideTheVocabulary) {
  CRIA_NEED_FIXTURES();
  const TokenId above = 128256, below = -1;
  EXPECT_THROW((void)llama3().decode({&above, 1}), UsageError);
  EXPECT_THROW((void)llama3().decode({&below, 1}), UsageError);
}

TEST(Specials, AreFoundByText) {
  CRIA_NEED_FIXTURES();
  EXPECT_EQ(llama3().find_special("<|eot_id|>"), 128009);
  EXPECT_EQ(llama3().find_special("<|reserved_special_token_250|>"), 128255);
  EXPECT_EQ(llama3().find_special("Hello"), std::nullopt);
  EXPECT_TRUE(llama3().is_special(128000));
  EXPECT_FALSE(llama3().is_special(127999));
  EXPECT_EQ(llama3().vocab_size(), 128256);
  EXPECT_EQ(llama3().vocabulary().bos, 128000);
  EXPECT_EQ(llama3().vocabulary().eos, 128001);
  EXPECT_EQ(llama3().vocabulary().pad, 128002);
  EXPECT_EQ(llama3().vocabulary().end_of_turn, std::vector<TokenId>{128009});
}

}  // namespace
}  // namespace cria
