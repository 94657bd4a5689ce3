// How predict holds weights: packed where it can, and the tokens are those of plain weights.
#include "checkpoint/convert.h"
#include "recipe/model_setup.h"
#include "recipe/ranks_testing.h"

namespace cria::recipe {
namespace {

using Keys = std::vector<std::pair<std::string, std::string>>;

class PredictWeights : public Ranks {
 protected:
  void SetUp() override {
    Ranks::SetUp();
    max_steps_ = 8;
    ASSERT_EQ(run("one", kOne, "train", shape()), 0) << message_;
  }
  /// Wide enough for blocks, and for their cut in two.
  [[nodiscard]] Keys shape() const {
    return {{"model.model_config.hidden_size", "64"},
            {"model.model_config.intermediate_size", intermediate_},
            {"runner_config.epochs", "4"}};
  }
  std::string predict(const std::string& word, const std::string& param, const std::string& compute,
                      const std::string& weights, const Layout& layout = kOne) {
    std::filesystem::remove(at("answers.txt"));
    Keys keys = shape();
    keys.emplace_back("load_checkpoint", weights);
    keys.emplace_back("model.model_config.param_init_type", param);
    keys.emplace_back("model.model_config.compute_dtype", compute);
    weights_ = word;
    EXPECT_EQ(run("p", layout, "predict", keys), 0) << message_;
    return answers();
  }
  /// The trained weights as a GGUF of blocks.
  std::string blocks(DType type) {
    const std::string path = at("blocks.gguf");
    const WeightSource source = WeightSource::open(native());
    ConvertOptions options{.format = WeightFormat::gguf, .output = path};
    options.blocks = {block_types(type), 1, {}};
    convert_weights(rows_of(source), source.config(), options);
    return path;
  }
  [[nodiscard]] std::string native() const {
    return at(output_ + "/checkpoint/rank_0/native/step-0000000008");
  }
  std::string output_ = "one", intermediate_ = "128";
};

// bf16 weights are packed, the others lie in arenas.
TEST_F(PredictWeights, PackedOnesGiveTheTokensOfPlainOnes) {
  for (const char* param : {"bfloat16", "float32", "float16"}) {
    for (const char* compute : {"float32", "bfloat16"})
      EXPECT_EQ(predict("", param, compute, native()), predict("plain", param, compute, native()))
          << param << ", computed in " << compute;
  }
}

TEST_F(PredictWeights, BlocksGiveTheTokensOfTheNumbersTheyStandFor) {
  const std::string file = blocks(DType::q8_0);
  const std::string kept = predict("", "float16", "float32", file);
  EXPECT_EQ(kept, predict("plain", "float32", "float32", file));
  EXPECT_EQ(kept, predict("q8_0", "float32", "float32", native()));
  EXPECT_NE(kept, predict("q4_0", "float32", "float32", native()));
}

TEST_F(PredictWeights, PackedPartsOfSeveralRanksGiveTheTokensOfOne) {
  const std::string q8_0 = blocks(DType::q8_0);
  for (const auto& [param, file] : {std::pair("bfloat16", native()), {"float32", q8_0}}) {
    const std::string alone = predict("", param, "float32", file);
    for (const Layout& layout :
         {kTp2, Layout{.name = "tp2_vocab", .tp = 2, .vocab_split = true},
          Layout{.name = "dp2_tp2", .dp = 2, .tp = 2}, Layout{.name = "pp2", .pp = 2}, kAll})
      EXPECT_EQ(predict("", param, "float32", file, layout), alone) << param << layout.name;
  }
}

TEST_F(PredictWeights, BlocksThatTheCutDoesNotDivideAreRefused) {
  intermediate_ = "96";
  output_ = "narrow";
  ASSERT_EQ(run(output_, kOne, "train", shape()), 0) << message_;
  Keys keys = shape();
  keys.emplace_back("load_checkpoint", blocks(DType::q8_0));
  EXPECT_EQ(run("p", kTp2, "predict", keys), 2);
  EXPECT_THAT(message_, ::testing::HasSubstr(
                            "down_proj.weight\": 48 columns for each of 2 tensor-parallel "
                            "ranks, expected a multiple of 32 for Q8_0; try: --weights bf16"));
  for (const char* word : {"bf16", "plain"}) {
    weights_ = word;
    EXPECT_EQ(run("p", kTp2, "predict", keys), 0) << message_;
  }
}

TEST_F(PredictWeights, AnUnknownWordIsRefused) {
  Keys keys = shape();
  keys.emplace_back("load_checkpoint", native());
  weights_ = "q9_0";
  EXPECT_EQ(run("p", kOne, "predict", keys), 2);
  EXPECT_THAT(message_, ::testing::HasSubstr("--weights"));
  weights_ = "f32";
  EXPECT_EQ(run("p", kOne, "predict", keys), 2);
  EXPECT_THAT(message_, ::testing::HasSubstr("--weights f32 is not packed; try: bf16"));
}

}  // namespace
}  // namespace cria::recipe
