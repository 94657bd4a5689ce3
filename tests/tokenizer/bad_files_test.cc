// Vocabulary files that are wrong: each is refused in words that name the fault.
#include <functional>

#include "base/error.h"
#include "fixtures.h"
#include "formats/gguf.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/vocabulary_files.h"

namespace cria {
namespace {

std::string message_of(const std::function<void()>& load) {
  try {
    load();
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("f.vocab")) << "the file is named";
    EXPECT_LE(std::string(e.what()).size(), 512U);
    return e.what();
  }
  return "nothing was thrown";
}

// ---------------------------------------------------------------------------------------------
// tokenizer.model

std::string base64_of_byte(unsigned char byte) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return {digits[byte >> 2], digits[(byte & 3) << 4], '=', '='};
}

std::string all_bytes_model() {
  std::string text;
  for (int byte = 0; byte < 256; ++byte)
    text += fmt::format("{} {}\n", base64_of_byte(static_cast<unsigned char>(byte)), byte);
  return text;
}

struct BadModel {
  const char* name;
  std::string bytes;
  const char* says;
};
void PrintTo(const BadModel& bad, std::ostream* out) { *out << bad.name; }

class BadTiktoken : public testing::TestWithParam<BadModel> {};
TEST_P(BadTiktoken, IsRefused) {
  EXPECT_THAT(message_of([] { (void)parse_tiktoken(GetParam().bytes, "f.vocab"); }),
              testing::HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(
    Files, BadTiktoken,
    testing::Values(
        BadModel{"empty", "", "no token for the single byte 0x00"},
        BadModel{"blank", "\n\r\n\n", "no token for the single byte 0x00"},
        BadModel{"no space", "IQ==\n", "line 1 col 1: no space in the line"},
        BadModel{"no padding", "IQ 0\n", "not strict base64"},
        BadModel{"padding inside", "I=Q= 0\n", "not strict base64"},
        BadModel{"only padding", "==== 0\n", "not strict base64"},
        BadModel{"stray bits", "IR== 0\n", "not strict base64"},
        BadModel{"stray bits of two bytes", "IWJ= 0\n", "not strict base64"},
        BadModel{"empty token", " 0\n", "not strict base64"},
        BadModel{"url alphabet", "I-_= 0\n", "not strict base64"},
        BadModel{"starts at one", "IQ== 1\n", "ranks must count up from 0, expected 0, found 1"},
        BadModel{"gap", "IQ== 0\nIg== 2\n", "line 2 col 1: ranks must count up"},
        BadModel{"leading zero", "IQ== 00\n", "ranks must count up"},
        BadModel{"negative", "IQ== -0\n", "ranks must count up"},
        BadModel{"not a number", "IQ== x\n", "ranks must count up"},
        BadModel{"huge rank", "IQ== 99999999999999999999999\n", "ranks must count up"},
        BadModel{"two spaces", "IQ==  0\n", "ranks must count up"},
        BadModel{"space after", "IQ== 0 \n", "ranks must count up"},
        BadModel{"a byte is missing", "IQ== 0\n", "no token for the single byte 0x00"},
        BadModel{"twice the same", all_bytes_model() + "IQ== 256\n", "are the same"},
        BadModel{"token too long", all_bytes_model() + std::string(1400, 'A') + " 256\n",
                 "has 1050 bytes"},
        BadModel{"too large", std::string((16 << 20) + 1, '\n'), "the file is too large"},
        BadModel{"binary", std::string("\x00\x01\x02 0\n", 6), "not strict base64"},
        BadModel{"sentencepiece", "\x0a\x0e\x0a\x05<unk>\x15\x01\x02\x03\x04\x18\x02",
                 "this is a SentencePiece model"}));

TEST(Tiktoken, SkipsBlankLinesAndTakesWindowsLineEnds) {
  std::string text = "\n\r\n";
  for (const char c : all_bytes_model()) {
    if (c == '\n') text += "\r\n";
    if (c != '\n') text += c;
  }
  const Vocabulary v = parse_tiktoken(text, "f.vocab");
  EXPECT_EQ(v.pieces.size(), 512U);
  EXPECT_EQ(v.bos, 256);
  EXPECT_EQ(v.pieces[256 + 9], "<|eot_id|>");
  EXPECT_EQ(v.pieces[511], "<|reserved_special_token_250|>");
}

// ---------------------------------------------------------------------------------------------
// tokenizer.json: a good one, and ways to spoil it

Json good_json() {
  Json vocab = Json::object();
  for (const char* piece : {"a", "b", "c", "ab", "abc", "Ġ"}) vocab[piece] = vocab.size();
  return parse_json(fmt::format(R"({{
    "version": "1.0", "normalizer": null,
    "added_tokens": [{{"id": 6, "content": "<|x|>", "special": true, "lstrip": false}}],
    "pre_tokenizer": {{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}},
    "model": {{"type": "BPE", "vocab": {}, "merges": [["a", "b"], "ab c"]}}}})",
                                vocab.dump()),
                    "test", "test");
}

struct BadJson {
  const char* name;
  std::function<void(Json&)> spoil;
  const char* says;
};
void PrintTo(const BadJson& bad, std::ostream* out) { *out << bad.name; }

class BadTokenizerJson : public testing::TestWithParam<BadJson> {};
TEST_P(BadTokenizerJson, IsRefused) {
  Json json = good_json();
  GetParam().spoil(json);
  EXPECT_THAT(message_of([&] { (void)parse_tokenizer_json(json.dump(), "f.vocab"); }),
              testing::HasSubstr(GetParam().says));
}

Json split(const char* pattern, const char* behavior) {
  return parse_json(fmt::format(R"({{"type": "Sequence", "pretokenizers": [
      {{"type": "Split", "pattern": {{"Regex": {}}}, "behavior": "{}", "invert": false}},
      {{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}}]}})",
                                Json(pattern).dump(), behavior),
                    "test", "test");
}

INSTANTIATE_TEST_SUITE_P(
    Model, BadTokenizerJson,
    testing::Values(
        BadJson{"no model", [](Json& j) { j.erase("model"); }, "\"model\" is missing"},
        BadJson{"array", [](Json& j) { j = Json::array(); }, "the file has the wrong type"},
        BadJson{"unigram", [](Json& j) { j["model"]["type"] = "Unigram"; }, "the model is Unigram"},
        BadJson{"byte_fallback", [](Json& j) { j["model"]["byte_fallback"] = true; },
                "a converted SentencePiece model"},
        BadJson{"dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }, "dropout is set"},
        BadJson{"suffix", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; },
                "end_of_word_suffix is set"},
        BadJson{"vocab list", [](Json& j) { j["model"]["vocab"] = Json::array(); },
                "vocab has the wrong type"},
        BadJson{"id text", [](Json& j) { j["model"]["vocab"]["a"] = "0"; }, "an id in vocab has"},
        BadJson{"id negative", [](Json& j) { j["model"]["vocab"]["a"] = -1; },
                "an id in vocab has"},
        BadJson{"id real", [](Json& j) { j["model"]["vocab"]["a"] = 0.5; }, "an id in vocab has"},
        BadJson{"id huge", [](Json& j) { j["model"]["vocab"]["a"] = UINT64_MAX; },
                "ids are not dense"},
        BadJson{"id twice", [](Json& j) { j["model"]["vocab"]["a"] = 1; }, "id 1 appears twice"},
        BadJson{"id gap", [](Json& j) { j["model"]["vocab"]["a"] = 7; }, "ids are not dense"},
        BadJson{"not byte level", [](Json& j) { j["model"]["vocab"]["你"] = 7; },
                "is not in GPT-2's byte alphabet"},
        BadJson{"empty piece", [](Json& j) { j["model"]["vocab"][""] = 7; }, "has 0 bytes"},
        BadJson{"merge of three", [](Json& j) { j["model"]["merges"][0] = {"a", "b", "c"}; },
                "merge 0 is not two tokens"},
        BadJson{"merge of one", [](Json& j) { j["model"]["merges"][1] = "ab"; },
                "merge 1 is not two tokens"},
        BadJson{"merge number", [](Json& j) { j["model"]["merges"][0] = 5; }, "a merge has"},
        BadJson{"merge part unknown", [](Json& j) { j["model"]["merges"][1] = "ab d"; },
                "merge 1 names \"d\", which is no token"},
        BadJson{"merge result unknown", [](Json& j) { j["model"]["merges"][1] = "a c"; },
                "merge 1 makes \"ac\", which is no token"},
        BadJson{"merge twice", [](Json& j) { j["model"]["merges"][1] = "a b"; },
                "merge 1 appears before, as merge 0"},
        BadJson{"unk", [](Json& j) { j["model"]["unk_token"] = "<unk>"; }, "unk_token"}));

INSTANTIATE_TEST_SUITE_P(
    Rest, BadTokenizerJson,
    testing::Values(
        BadJson{"no pre", [](Json& j) { j.erase("pre_tokenizer"); },
                "\"pre_tokenizer\" is missing"},
        BadJson{"other pre", [](Json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}}; },
                "\"Metaspace\""},
        BadJson{"prefix space", [](Json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; },
                "\"add_prefix_space\""},
        BadJson{"other pattern", [](Json& j) { j["pre_tokenizer"] = split("(a+)+$", "Isolated"); },
                "\"(a+)+$\""},
        BadJson{"split removed", [](Json& j) { j["pre_tokenizer"] = split("(a+)+$", "Removed"); },
                "pre-tokenizer"},
        BadJson{"normalizer", [](Json& j) { j["normalizer"] = {{"type", "NFKC"}}; },
                "the normalizer is not one of"},
        BadJson{"lstrip", [](Json& j) { j["added_tokens"][0]["lstrip"] = true; }, "lstrip set"},
        BadJson{"not special", [](Json& j) { j["added_tokens"][0]["special"] = false; },
                "is not special"},
        BadJson{"added id taken", [](Json& j) { j["added_tokens"][0]["id"] = 2; },
                "id 2 appears twice"},
        BadJson{"added twice", [](Json& j) { j["added_tokens"].push_back(j["added_tokens"][0]); },
                "id 6 appears twice"},
        BadJson{"added and ordinary", [](Json& j) { j["added_tokens"][0]["content"] = "ab"; },
                "tokens 3 and 6 are the same"},
        BadJson{"added text twice",
                [](Json& j) {
                  j["added_tokens"].push_back(j["added_tokens"][0]);
                  j["added_tokens"][1]["id"] = 7;
                },
                "appears twice"}));

TEST(TokenizerJson, TheGoodOneIsGood) {
  const Vocabulary v = parse_tokenizer_json(good_json().dump(), "f.vocab");
  EXPECT_EQ(v.pieces[5], " ");
  EXPECT_EQ(v.merges.size(), 2U);
  EXPECT_EQ(Tokenizer(v).encode("abcab"), (std::vector<TokenId>{4, 3}));
}

TEST(TokenizerJson, RefusesWhatIsNoJson) {
  const std::string good = good_json().dump();
  const auto says = [](const std::string& text) {
    return message_of([&] { (void)parse_tokenizer_json(text, "f.vocab"); });
  };
  for (size_t cut = 0; cut < good.size(); ++cut)
    ASSERT_THAT(says(good.substr(0, cut)), testing::HasSubstr("f.vocab"));
  EXPECT_THAT(says(good + "x"), testing::HasSubstr("at byte"));
  EXPECT_THAT(says("{\"a\":\"\xff\"}"), testing::HasSubstr("not valid UTF-8"));
  EXPECT_THAT(says(std::string(100000, '[')), testing::HasSubstr("nested deeper"));
  EXPECT_THAT(says(R"({"model": {}, "model": {}})"), testing::HasSubstr("appears twice"));
  EXPECT_THAT(says(R"({"a": "\ud800"})"), testing::HasSubstr("not valid JSON"));
}

// ---------------------------------------------------------------------------------------------
// Tables that never were in a file

TEST(CheckVocabulary, RefusesIdsOutside) {
  Vocabulary v = parse_tokenizer_json(good_json().dump(), "f.vocab");
  v.eos = 7;
  EXPECT_THAT(message_of([&] { check_vocabulary(v); }),
              testing::HasSubstr("eos id 7 is outside the vocabulary of 7"));
  v.eos = std::nullopt;
  v.merges.emplace_back(0, 99);
  EXPECT_THAT(message_of([&] { check_vocabulary(v); }), testing::HasSubstr("merge id 99"));
}

TEST(ByteLevel, IsItsOwnInverse) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::string back;
  EXPECT_TRUE(from_byte_level(to_byte_level(all), back));
  EXPECT_EQ(back, all);
  EXPECT_EQ(to_byte_level(" \n"), "ĠĊ");
  for (const char* bad : {" ", "\n", "\xc4", "\xc4\x41", "你", "\xff", "\xc5\x84"})
    EXPECT_FALSE(from_byte_level(bad, back)) << bad;
}

}  // namespace
}  // namespace cria
