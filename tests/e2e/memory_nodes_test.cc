// Generation over memory nodes, emulated: one node's answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "formats/files.h"
#include "program.h"
#include "valid_files.h"

namespace cria::e2e {
namespace {

class MemoryNodes : public testing::Test {
 protected:
  void TearDown() override { unsetenv("CRIA_NUMA"); }
  Outcome on(const char* nodes, const std::string& words) {
    setenv("CRIA_NUMA", nodes, 1);
    return run(words_of(words, "", valid_files(), folder_.path()), folder_.path());
  }
  const TemporaryFolder folder_ = TemporaryFolder::in_memory();
};

TEST_F(MemoryNodes, AnswersAreThoseOfOneNode) {
  const std::string ids =
      " --eos_ids none --max_new_tokens 16 --json --token_ids 1,2,3 "
      "--token_ids 7";
  for (const char* form : {"", " --dtype fp32", " --weights q8_0"}) {
    const std::string words = std::string("generate --model {i}/tiny") + form + ids;
    const Outcome one = on("1", words), two = on("2", words);
    ASSERT_EQ(one.exit, 0) << one.err;
    EXPECT_EQ(two.exit, 0) << two.err;
    EXPECT_EQ(two.out, one.out) << form;
    EXPECT_EQ(two.err, one.err) << form;
  }
}

TEST_F(MemoryNodes, TextIsPrintedOnce) {
  const std::string words =
      "generate --model {i}/tiny --dtype fp32 --vocab_file {i}/tok.model --eos_ids none "
      "--max_new_tokens 12 "
      "--prompt love --prompt hate";
  const Outcome one = on("1", words);
  ASSERT_EQ(one.exit, 0) << one.err;
  EXPECT_NE(one.out, "");
  EXPECT_EQ(on("2", words).out, one.out);
}

TEST_F(MemoryNodes, PerplexityIsThatOfOneNode) {
  test::spew(folder_ / "text.txt", std::string(300, 'a') + "It was a dark and stormy night.");
  const std::string words =
      "eval --model {i}/tiny --vocab_file {i}/tok.model --dtype fp32 --reference {i}/tiny "
      "--text {o}/text.txt --context 32 --json";
  const Outcome one = on("1", words), two = on("2", words);
  ASSERT_EQ(one.exit, 0) << one.err;
  ASSERT_EQ(two.exit, 0) << two.err;
  const auto a = nlohmann::json::parse(one.out), b = nlohmann::json::parse(two.out);
  EXPECT_EQ(a["tokens"], b["tokens"]);
  // f32 sums in another order.
  EXPECT_NEAR(a["loss"].get<double>(), b["loss"].get<double>(), 1e-5);
}

TEST_F(MemoryNodes, AModelThatTheyDoNotDivideIsHeldWholeAndSaysSo) {
  const std::string words =
      "generate --model {i}/tiny --eos_ids none --max_new_tokens 4 --json --token_ids 1,2,3";
  const Outcome three = on("3", words);
  EXPECT_EQ(three.exit, 0);
  EXPECT_EQ(three.out, on("1", words).out);
  EXPECT_THAT(three.err, testing::HasSubstr("does not divide by 3 memory nodes"));
  const Outcome wrong = on("many", words);
  EXPECT_EQ(wrong.exit, 2);
  EXPECT_THAT(wrong.err, testing::HasSubstr("CRIA_NUMA is many, expected 1 to 64"));
}

}  // namespace
}  // namespace cria::e2e
