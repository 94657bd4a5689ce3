// Predictions as the recipe's users ask for them: one prompt, several, a file; greedy and drawn.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/files.h"
#include "program.h"
#include "valid_files.h"

namespace cria::e2e {
namespace {

class Predict : public testing::Test {
 protected:
  // The result file after one more run.
  std::string predict(const std::vector<std::string>& prompts, const std::string& more = {}) {
    std::vector<std::string> words = words_of(
        "run_llama3 --config {i}/run.yaml --run_mode predict --load_checkpoint {i}/tiny "
        "--vocab_file {i}/tok.model --max_length 24 " +
            more + " --predict_data",
        "", valid_files(), folder_.path());
    words.insert(words.end(), prompts.begin(), prompts.end());
    const Outcome got = run(words, folder_.path());
    EXPECT_EQ(got.exit, 0) << got.err;
    const std::string result = test::slurp(folder_ / "text_generation_result.txt");
    EXPECT_THAT(got.out, testing::HasSubstr("output result is: " + result));
    EXPECT_THAT(got.out, testing::HasSubstr("Predict Over"));
    return result;
  }
  // What stands between the brackets of a result of one prompt.
  std::string one(const std::string& prompt, const std::string& more = {}) {
    const std::string all = predict({prompt}, more), begin = "[{'text_generation_text': [";
    EXPECT_TRUE(all.starts_with(begin) && all.ends_with("]}]")) << all;
    return all.substr(begin.size(), all.size() - begin.size() - 3);
  }
  const TemporaryFolder folder_ = TemporaryFolder::in_memory();
};

TEST_F(Predict, SeveralPromptsAreThePromptsAloneInAnyBatch) {
  const std::vector<std::string> prompts = {"I love", "a", "Beijing, because"};
  std::vector<std::string> alone;
  for (const std::string& prompt : prompts) alone.push_back(one(prompt));
  EXPECT_THAT(alone[0], testing::StartsWith("'I love"));
  EXPECT_NE(alone[0], alone[1]);
  const auto group = [](const std::string& texts) {
    return "{'text_generation_text': [" + texts + "]}";
  };
  EXPECT_EQ(predict(prompts),
            fmt::format("[{}, {}, {}]", group(alone[0]), group(alone[1]), group(alone[2])));
  EXPECT_EQ(predict(prompts, "--model.model_config.batch_size 2"),
            fmt::format("[{}, {}]", group(alone[0] + ", " + alone[1]), group(alone[2])));
}

TEST_F(Predict, AFileHasAPromptOnEachLine) {
  test::spew(folder_ / "prompts.txt", "I love\r\n\ntwo\\nlines\nlast");
  EXPECT_EQ(predict({folder_ / "prompts.txt"}), predict({"I love", "two\nlines", "last"}));
}

TEST_F(Predict, DrawsAreRepeatableBySeedAndFollowTopK) {
  const std::string draw =
      "--model.model_config.do_sample True --model.model_config.temperature 1.5 ";
  const std::string wide = draw + "--model.model_config.top_k 0 --model.model_config.top_p 1.0 ";
  const std::string greedy = one("I love");
  const std::string first = one("I love", wide);
  EXPECT_NE(first, greedy);
  EXPECT_EQ(one("I love", wide), first);
  EXPECT_EQ(one("I love", draw + "--model.model_config.top_k 1"), greedy);
  EXPECT_EQ(one("I love", draw + "--model.model_config.top_k 0 --model.model_config.top_p 1e-6"),
            greedy);
}

TEST_F(Predict, OtherSeedsDrawOtherTexts) {
  const auto with_seed = [&](const std::string& seed) {
    std::string config = test::slurp(valid_files() + "/run.yaml");
    test::spew(folder_ / "seeded.yaml", "seed: " + seed + "\n" + config);
    const Outcome got =
        run(words_of("run --config {o}/seeded.yaml --run_mode predict --load_checkpoint "
                     "{i}/tiny --vocab_file {i}/tok.model --predict_data love "
                     "--model.model_config.max_length 40 --model.model_config.do_sample True "
                     "--model.model_config.top_k 100",
                     "", valid_files(), folder_.path()),
            folder_.path());
    EXPECT_EQ(got.exit, 0) << got.err;
    return test::slurp(folder_ / "text_generation_result.txt");
  };
  EXPECT_EQ(with_seed("7"), with_seed("7"));
  EXPECT_NE(with_seed("7"), with_seed("8"));
}

TEST_F(Predict, MaxLengthCountsThePromptAndAPromptOfThatLengthComesBack) {
  const std::string exact(24, 'a');
  EXPECT_EQ(one(exact), "'" + exact + "'");
}

}  // namespace
}  // namespace cria::e2e
