// Vocabularies in GGUF metadata: as our exporter describes them and the GGUF writer writes them.
#include <filesystem>

#include "base/error.h"
#include "fixtures.h"
#include "formats/gguf.h"
#include "tokenizer/export.h"
#include "tokenizer/load.h"
#include "tokenizer/vocabulary_files.h"

namespace cria {
namespace {

GgufMetadata metadata_of(const GgufVocabulary& v) {
  GgufMetadata out = {
      {"tokenizer.ggml.model", v.model},   {"tokenizer.ggml.pre", v.pre},
      {"tokenizer.ggml.tokens", v.tokens}, {"tokenizer.ggml.token_type", v.token_types},
      {"tokenizer.ggml.merges", v.merges}, {"tokenizer.chat_template", v.chat_template}};
  if (v.bos) out.emplace_back("tokenizer.ggml.bos_token_id", *v.bos);
  if (v.eos) out.emplace_back("tokenizer.ggml.eos_token_id", *v.eos);
  if (v.eot) out.emplace_back("tokenizer.ggml.eot_token_id", *v.eot);
  return out;
}

class GgufFile : public testing::TestWithParam<const char*> {
 protected:
  ~GgufFile() override { std::filesystem::remove(path_); }
  void write(const GgufMetadata& metadata) const {
    make_gguf_writer(path_, metadata, {})->commit();
  }
  std::string message() const {
    try {
      (void)load_vocabulary(path_);
    } catch (const FormatError& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(path_));
      return e.what();
    }
    return "nothing was thrown";
  }
  std::string path_ = testing::TempDir() + "cria_vocabulary.gguf";
};
INSTANTIATE_TEST_SUITE_P(Golden, GgufFile, testing::Values("llama3", "smollm", "gpt2"));

TEST_P(GgufFile, EncodesAsHuggingFaceDoes) {
  Vocabulary before = load_vocabulary(golden(std::string(GetParam()) + ".tokenizer.json"));
  before.eos = 1;
  before.end_of_turn = {0};
  before.chat_template = "T";
  write(metadata_of(gguf_vocabulary_metadata(before)));
  const Tokenizer tokenizer(load_vocabulary(path_));
  EXPECT_EQ(tokenizer.fingerprint(), before.fingerprint);
  EXPECT_EQ(tokenizer.vocabulary().eos, 1);
  EXPECT_EQ(tokenizer.vocabulary().end_of_turn.front(), 0);
  EXPECT_EQ(tokenizer.vocabulary().chat_template, "T");
  for (const Json& row : rows(golden(std::string(GetParam()) + ".rows.jsonl")))
    ASSERT_EQ(tokenizer.encode(row.at("text").get<std::string>()), ids_of(row)) << row.at("i");
}

using GgufVocabularyErrors = GgufFile;
INSTANTIATE_TEST_SUITE_P(One, GgufVocabularyErrors, testing::Values("smollm"));

TEST_P(GgufVocabularyErrors, NameTheFileAndTheFault) {
  const GgufVocabulary good =
      gguf_vocabulary_metadata(load_vocabulary(golden("smollm.tokenizer.json")));
  const auto says = [&](auto&& spoil) {
    GgufVocabulary bad = good;
    spoil(bad);
    write(metadata_of(bad));
    return message();
  };
  using testing::HasSubstr;
  EXPECT_THAT(says([](auto& v) { v.model = "llama"; }), HasSubstr("SentencePiece"));
  EXPECT_THAT(says([](auto& v) { v.model = "bert"; }), HasSubstr("unknown kind of vocabulary"));
  EXPECT_THAT(says([](auto& v) { v.pre = "qwen2"; }), HasSubstr("tokenizer.ggml.pre"));
  EXPECT_THAT(says([](auto& v) { v.token_types[9] = 6; }), HasSubstr("token 9 has a type"));
  EXPECT_THAT(says([](auto& v) { v.tokens[9] = "你"; }), HasSubstr("token 9 is not in GPT-2's"));
  EXPECT_THAT(says([](auto& v) { v.merges[3] = "nospace"; }), HasSubstr("merge 3 is malformed"));
  EXPECT_THAT(says([](auto& v) { v.merges[3] = "a zzz"; }), HasSubstr("merge"));
  EXPECT_THAT(says([](auto& v) { v.token_types.pop_back(); }),
              HasSubstr("token_type\" does not fit the vocabulary"));
  EXPECT_THAT(says([](auto& v) { v.eos = 60000; }), HasSubstr("eos_token_id"));
  write({{"general.name", std::string("no vocabulary")}});
  EXPECT_THAT(message(), HasSubstr("the file has no vocabulary"));
  EXPECT_THAT(says([](auto& v) { v.model = "none"; }), HasSubstr("the file has no vocabulary"));
}

}  // namespace
}  // namespace cria
