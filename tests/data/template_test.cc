#include "data/template.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/alpaca.h"
#include "data_testing.h"

namespace cria {
namespace {

TEST(Vicuna, RendersTurnsWithTheirSeparators) {
  const std::vector<Turn> turns = {{"human", "a"}, {"gpt", "b"}, {"human", ""}, {"gpt", ""}};
  EXPECT_EQ(render_vicuna(turns),
            std::string(Vicuna::system) + " USER: a ASSISTANT: b</s>USER:ASSISTANT:");
  EXPECT_EQ(render_vicuna({}), std::string(Vicuna::system) + " ");
}

TEST(PromptTemplate, AlpacaIsThePromptThatRecordsWereTrainedWith) {
  const std::vector<Turn> turns = {{"human", alpaca_prompt("do it", "with this")}, {"gpt", "yes"}};
  const std::string trained = render_vicuna(turns);
  const std::string prompt = render_prompt(PromptTemplate::alpaca, "do it", "with this");
  EXPECT_TRUE(trained.starts_with(prompt));
  EXPECT_EQ(trained.substr(prompt.size()), " yes</s>");
}

TEST(PromptTemplate, NoneIsTheTextItself) {
  const Tokenizer tokenizer(tiny_vocabulary());
  EXPECT_EQ(encode_prompt(tokenizer, PromptTemplate::none, "a<|pad|>"),
            tokenizer.encode("a<|pad|>"));
  EXPECT_EQ(encode_prompt(tokenizer, PromptTemplate::none, "a<|pad|>",
                          {.bos = true, .allow_special = true}),
            std::vector<TokenId>({270, 'a', 272}));
}

TEST(PromptTemplate, NamesAreKnownAndOthersRefused) {
  EXPECT_EQ(parse_prompt_template("chatml"), PromptTemplate::chatml);
  EXPECT_EQ(parse_prompt_template("none"), PromptTemplate::none);
  for (const char* bad : {"", "Alpaca", "llama", "vicuna "})
    EXPECT_THROW(parse_prompt_template(bad), UsageError) << bad;
}

TEST(PromptTemplate, AChatLayoutNeedsItsTokens) {
  const Tokenizer tokenizer(tiny_vocabulary());
  EXPECT_THROW(encode_prompt(tokenizer, PromptTemplate::chatml, "a"), UsageError);
  EXPECT_THROW(encode_prompt(tokenizer, PromptTemplate::llama3, "a"), UsageError);
  EXPECT_THROW(render_prompt(PromptTemplate::vicuna, "a", "an input"), UsageError);
}

TEST(PromptTemplate, ChatLayoutsSurroundTheTextWithTheirTokens) {
  Vocabulary v = tiny_vocabulary();
  for (const char* piece : {"<|im_start|>", "<|im_end|>"}) {
    v.pieces.emplace_back(piece);
    v.special.push_back(true);
  }
  const Tokenizer tokenizer(std::move(v));
  EXPECT_EQ(tokenizer.decode(encode_prompt(tokenizer, PromptTemplate::chatml, "hi <|im_end|>")),
            "<|im_start|>user\nhi <|im_end|><|im_end|>\n<|im_start|>assistant\n");
  const auto ids = encode_prompt(tokenizer, PromptTemplate::chatml, "hi <|im_end|>");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 275), 1) << "the text's own stays text";
}

}  // namespace
}  // namespace cria
