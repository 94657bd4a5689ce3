// Runs of several ranks, as threads: evaluation and prediction in every layout, and weights that other layouts saved.
#include "recipe/ranks_testing.h"

namespace cria::recipe {
namespace {

using ::testing::HasSubstr;

double loss_in(const std::string& metric) {
  const std::string begin = "'loss': ";
  const size_t at = metric.find(begin);
  return at == std::string::npos ? -1 : std::stod(metric.substr(at + begin.size()));
}

TEST_F(Ranks, EveryLayoutEvaluatesWhatAnySaved) {
  ASSERT_EQ(run("one", kOne, "train"), 0) << message_;
  const std::string network = at("one/checkpoint_network");
  ASSERT_EQ(run("e_one", kOne, "eval", {{"load_checkpoint", network}}), 0) << message_;
  const std::string alone = metric("e_one", 0);
  ASSERT_NE(alone, "");
  const Layout layouts[] = {{.name = "dp2", .dp = 2},
                            {.name = "dp4", .dp = 4},
                            {.name = "pp2", .pp = 2},
                            {.name = "dp2_pp2", .dp = 2, .pp = 2},
                            kTp2,
                            kAll};
  for (const Layout& layout : layouts) {
    ASSERT_EQ(run(layout.name, layout, "eval", {{"load_checkpoint", network + "/rank_0"}}), 0)
        << layout.name << ": " << message_;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      // Without tensor parallelism every sum is one rank's own.
      if (layout.tp == 1) {
        EXPECT_EQ(metric(layout.name, rank), alone) << layout.name << ", rank " << rank;
      }
      EXPECT_NEAR(loss_in(metric(layout.name, rank)), loss_in(alone), 1e-5) << layout.name;
    }
  }
}

TEST_F(Ranks, SlicesLoadWithTheirStrategyIntoAnyLayout) {
  for (const Layout& saved : {kDp2Shard, kTp2, kAll}) {
    ASSERT_EQ(run(saved.name, saved, "train"), 0) << message_;
    const std::string network = at(saved.name + "/checkpoint_network");
    const std::string native = at(saved.name + "/checkpoint/rank_0/native/step-0000000002");
    ASSERT_EQ(run("whole_" + saved.name, kOne, "eval", {{"load_checkpoint", native}}), 0)
        << message_;
    const double expected = loss_in(metric("whole_" + saved.name, 0));
    ASSERT_GT(expected, 0);
    for (const Layout& to : {kOne, kDp2Shard, kTp2, kAll}) {
      const std::string output = saved.name + "_in_" + to.name;
      ASSERT_EQ(run(output, to, "eval",
                    {{"load_checkpoint", network},
                     {"src_strategy_path_or_dir", at(saved.name + "/strategy")}}),
                0)
          << output << ": " << message_;
      EXPECT_NEAR(loss_in(metric(output, to.ranks() - 1)), expected, 1e-5) << output;
    }
    // The same layout needs no strategy: each rank finds what its own kind wrote.
    ASSERT_EQ(run("same_" + saved.name, saved, "eval", {{"load_checkpoint", network}}), 0)
        << message_;
    EXPECT_NEAR(loss_in(metric("same_" + saved.name, 0)), expected, 1e-5);
  }
}

// A tied table is not cut as a head of its own would be, and the configuration need not say that it is one.
TEST_F(Ranks, SlicesOfATiedModelLoadInTheirOwnLayout) {
  const Layout dp2_pp2{.name = "dp2_pp2_shard", .dp = 2, .pp = 2, .shard = true};
  for (const Layout& layout : {kDp2Shard, dp2_pp2}) {
    ASSERT_EQ(
        run(layout.name, layout, "train", {{"model.model_config.tie_word_embeddings", "True"}}), 0)
        << message_;
    ASSERT_EQ(
        run("whole_" + layout.name, kOne, "eval",
            {{"load_checkpoint", at(layout.name + "/checkpoint/rank_0/native/step-0000000002")}}),
        0)
        << message_;
    ASSERT_EQ(run("same_" + layout.name, layout, "eval",
                  {{"load_checkpoint", at(layout.name + "/checkpoint_network")}}),
              0)
        << layout.name << ": " << message_;
    EXPECT_NEAR(loss_in(metric("same_" + layout.name, 0)),
                loss_in(metric("whole_" + layout.name, 0)), 1e-5);
  }
}

TEST_F(Ranks, SlicesWithoutTheirStrategyAreRefused) {
  ASSERT_EQ(run("dp2", kDp2Shard, "train"), 0) << message_;
  const std::string network = at("dp2/checkpoint_network");
  EXPECT_EQ(run("a", kTp2, "eval", {{"load_checkpoint", network}}), 9);
  EXPECT_THAT(message_, HasSubstr("try: --src_strategy"));
  EXPECT_EQ(run("a", kOne, "eval", {{"load_checkpoint", network}}), 2);
  EXPECT_THAT(message_, HasSubstr("src_strategy"));
  EXPECT_EQ(run("a", kOne, "eval",
                {{"load_checkpoint", network}, {"src_strategy_path_or_dir", at("nothing")}}),
            4)
      << message_;
  EXPECT_EQ(run("a", kOne, "eval",
                {{"load_checkpoint", network + "/rank_0/tiny_rank_0-network.ckpt"},
                 {"src_strategy_path_or_dir", at("dp2/strategy")}}),
            9);
  EXPECT_THAT(message_, HasSubstr("no folder rank_0"));
  std::filesystem::remove_all(network + "/rank_1");
  EXPECT_EQ(run("a", kOne, "eval",
                {{"load_checkpoint", network}, {"src_strategy_path_or_dir", at("dp2/strategy")}}),
            9);
  EXPECT_THAT(message_, HasSubstr("no folder rank_1"));
  EXPECT_FALSE(is_folder(at("a")));
}

TEST_F(Ranks, PredictionsOfSeveralRanksAreThoseOfOne) {
  ASSERT_EQ(run("one", kOne, "train"), 0) << message_;
  const std::string network = at("one/checkpoint_network/rank_0/tiny_rank_0-network.ckpt");
  const auto predict = [&](const Layout& layout, const std::string& batch_size) {
    std::filesystem::remove(at("answers.txt"));
    EXPECT_EQ(run("p", layout, "predict",
                  {{"load_checkpoint", network}, {"model.model_config.batch_size", batch_size}}),
              0)
        << layout.name << ": " << message_;
    return answers();
  };
  const std::string alone = predict(kOne, "1");
  EXPECT_THAT(alone, HasSubstr("{'text_generation_text': ['I love"));
  for (const Layout& layout :
       {Layout{.name = "dp2", .dp = 2}, Layout{.name = "dp8", .dp = 8}, kTp2,
        Layout{.name = "tp2_vocab", .tp = 2, .vocab_split = true},
        Layout{.name = "dp2_tp2", .dp = 2, .tp = 2}, Layout{.name = "pp2", .pp = 2},
        Layout{.name = "dp2_pp2", .dp = 2, .pp = 2}, Layout{.name = "tp2_pp2", .tp = 2, .pp = 2},
        kAll})
    EXPECT_EQ(predict(layout, "1"), alone) << layout.name;
  const std::string by_two = predict(kOne, "2");
  EXPECT_NE(by_two, alone);
  EXPECT_EQ(predict({.name = "dp2", .dp = 2}, "2"), by_two);
  EXPECT_EQ(predict({.name = "dp2_pp2", .dp = 2, .pp = 2}, "2"), by_two);
}

TEST_F(Ranks, PredictNeedsNoMicroBatches) {
  ASSERT_EQ(run("one", kOne, "train"), 0) << message_;
  const Layout pp2{.name = "pp2", .pp = 2};
  EXPECT_EQ(run("p", pp2, "predict",
                {{"load_checkpoint", at("one/checkpoint_network")},
                 {"parallel_config.micro_batch_num", "1"}}),
            0)
      << message_;
  EXPECT_TRUE(is_file(at("answers.txt")));
  EXPECT_EQ(run("t", pp2, "train", {{"parallel_config.micro_batch_num", "1"}}), 2);
  EXPECT_THAT(message_, HasSubstr("micro_batch_num is 1, expected at least"));
}

class AutoTransform : public Ranks {
 protected:
  void SetUp() override {
    Ranks::SetUp();
    ASSERT_EQ(run("saved", kDp2Shard, "train"), 0) << message_;
    ASSERT_EQ(run("direct", kOne, "eval", source()), 0) << message_;
  }
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> source() const {
    return {{"load_checkpoint", at("saved/checkpoint_network")},
            {"src_strategy_path_or_dir", at("saved/strategy")}};
  }
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> transformed() const {
    auto keys = source();
    keys.emplace_back("auto_trans_ckpt", "True");
    return keys;
  }
};

TEST_F(AutoTransform, WritesTheRecipesFoldersAndLines) {
  ASSERT_EQ(run("t", kAll, "eval", transformed()), 0) << message_;
  for (int rank = 0; rank < 8; ++rank) {
    EXPECT_TRUE(is_file(at(fmt::format("t/strategy/ckpt_strategy_rank_{}.ckpt", rank))));
    const std::string result = at("t/transformed_checkpoint/checkpoint_network");
    EXPECT_TRUE(is_file(fmt::format("{0}/rank_{1}/checkpoint_{1}.ckpt", result, rank)));
    EXPECT_TRUE(is_file(fmt::format("{}/transform_succeed_rank_{}.txt", result, rank)));
  }
  EXPECT_TRUE(is_file(at("t/strategy/merged_ckpt_strategy.ckpt")));
  EXPECT_THAT(log_of("t"), HasSubstr("Collecting strategy: |▮"));
  EXPECT_THAT(log_of("t"), HasSubstr("Transforming checkpoint: |▮"));
  EXPECT_THAT(log_of("t"), HasSubstr("▮|100%"));
  EXPECT_NEAR(loss_in(metric("t", 7)), loss_in(metric("direct", 0)), 1e-5);
  // What was written is of the strategies that were written.
  ASSERT_EQ(run("again", kTp2, "eval",
                {{"load_checkpoint", at("t/transformed_checkpoint/checkpoint_network")},
                 {"src_strategy_path_or_dir", at("t/strategy")}}),
            0)
      << message_;
  EXPECT_NEAR(loss_in(metric("again", 0)), loss_in(metric("direct", 0)), 1e-5);
}

TEST_F(AutoTransform, OneDeviceGetsTheWholeFile) {
  ASSERT_EQ(run("p", kOne, "predict", source()), 0) << message_;
  const std::string direct = answers();
  ASSERT_EQ(run("t", kOne, "predict", transformed()), 0) << message_;
  EXPECT_EQ(answers(), direct);
  EXPECT_FALSE(is_folder(at("t/strategy")));
  const std::string whole =
      at("t/transformed_checkpoint/checkpoint_network/rank_0/checkpoint_0.ckpt");
  const auto file = open_mindspore_ckpt(whole);
  const size_t i = file->find("lm_head.weight").value();
  EXPECT_EQ(file->tensors()[i].shape, (std::vector<int64_t>{512, 16}));
}

TEST_F(AutoTransform, FewerRanksMayShareTheWork) {
  auto keys = transformed();
  keys.emplace_back("transform_process_num", "2");
  ASSERT_EQ(run("t", kAll, "eval", keys), 0) << message_;
  const std::string result = at("t/transformed_checkpoint/checkpoint_network");
  for (int rank = 0; rank < 8; ++rank) {
    EXPECT_TRUE(is_file(fmt::format("{0}/rank_{1}/checkpoint_{1}.ckpt", result, rank)));
    EXPECT_EQ(is_file(fmt::format("{}/transform_succeed_rank_{}.txt", result, rank)),
              rank % 4 == 0);
  }
  keys.back().second = "3";
  EXPECT_EQ(run("u", kAll, "eval", keys), 2);
  EXPECT_THAT(message_, HasSubstr("transform_process_num is 3"));
}

TEST_F(AutoTransform, NothingOfAnotherRunIsLost) {
  // The output folder is that of the run that saved: its strategy files stay, under another name.
  const std::string before = read_text(at("saved/strategy/ckpt_strategy_rank_1.ckpt"));
  ASSERT_EQ(run("saved", kAll, "eval", transformed()), 0) << message_;
  EXPECT_EQ(read_text(at("saved/strategy_1/ckpt_strategy_rank_1.ckpt")), before);
  EXPECT_NE(read_text(at("saved/strategy/ckpt_strategy_rank_1.ckpt")), before);
  auto keys = transformed();
  keys[1].second = at("saved/strategy_1");
  const std::string result = at("saved/transformed_checkpoint/checkpoint_network");
  write_file(result + "/mine.txt", "precious");
  ASSERT_EQ(run("saved", kAll, "eval", keys), 0) << message_;
  EXPECT_FALSE(is_folder(at("saved/strategy_2"))) << "its own strategy files stay in place";
  EXPECT_EQ(read_text(result + "_1/mine.txt"), "precious");
  EXPECT_TRUE(is_file(result + "/rank_7/checkpoint_7.ckpt"));
  // A source below the result would be moved away from itself.
  keys[0].second = result;
  keys[1].second = at("saved/strategy");
  EXPECT_EQ(run("saved", kAll, "eval", keys), 2);
  EXPECT_THAT(message_, HasSubstr("would write where load_checkpoint is"));
}

TEST_F(AutoTransform, AFailureOfOneRankEndsAll) {
  const std::string file = at("saved/checkpoint_network/rank_1/tiny_rank_1-network.ckpt");
  std::string bytes = read_text(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(file, bytes);
  // In the same layout the first rank needs nothing of that file.
  for (const Layout& to : {kTp2, kDp2Shard}) {
    EXPECT_EQ(run("t", to, "train", transformed()), 3) << message_;
    EXPECT_THAT(message_, HasSubstr("tiny_rank_1-network.ckpt"));
    EXPECT_FALSE(is_folder(at("t/transformed_checkpoint/checkpoint_network"))) << to.name;
  }
}

TEST_F(AutoTransform, OtherWeightsAreLoadedAsTheyAreAndNoneAreAnError) {
  const std::string native = at("saved/checkpoint/rank_0/native/step-0000000002");
  ASSERT_EQ(run("t", kTp2, "eval", {{"load_checkpoint", native}, {"auto_trans_ckpt", "True"}}), 0)
      << message_;
  EXPECT_FALSE(is_folder(at("t/transformed_checkpoint")));
  EXPECT_THAT(log_of("t"), HasSubstr("no .ckpt files"));
  EXPECT_EQ(run("u", kTp2, "train", {{"auto_trans_ckpt", "True"}}), 2);
  EXPECT_THAT(message_, HasSubstr("load_checkpoint is empty"));
}

}  // namespace
}  // namespace cria::recipe
