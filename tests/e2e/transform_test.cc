// transform_ckpt as its users run it: what it prints, where files appear, and how it fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "checkpoint/transform_testing.h"
#include "program.h"
#include "recipe/tiny_recipe.h"

namespace cria::e2e {
namespace {

using testing::HasSubstr;

class TransformProgram : public testing::Test {
 protected:
  TransformProgram() {
    test::save_random(at("whole.ckpt"), {{.name = "w", .dtype = DType::f32, .shape = {8, 4}},
                                         {.name = "step", .dtype = DType::i32, .shape = {1}}});
    test::save_strategy(at("mp2.ckpt"),
                        test::make_strategy(1, {{"w", test::make_layout({2}, {{0, -1}})}}));
  }
  [[nodiscard]] std::string at(const std::string& name) const { return scratch_.path(name); }
  [[nodiscard]] Outcome transform(const std::string& src, const std::string& from,
                                  const std::string& dst, const std::string& to) const {
    return run({"transform", "--src_ckpt_dir", src, "--src_ckpt_strategy", from, "--dst_ckpt_dir",
                dst, "--dst_ckpt_strategy", to, "--transform_process_num", "2"});
  }
  const test::Scratch scratch_;
};

TEST_F(TransformProgram, CutsAndJoinsAndSaysSo) {
  const Outcome cut = transform(at("whole.ckpt"), "", at("cut"), at("mp2.ckpt"));
  EXPECT_EQ(cut.exit, 0) << cut.err;
  for (const char* line : {"src_ckpt_strategy: \n", "dst_ckpt_strategy: ", "src_ckpt_dir: ",
                           "dst_ckpt_dir: ", "prefix: checkpoint_\n",
                           "......Start transform......\n", "......Transform succeed!......\n"})
    EXPECT_THAT(cut.out, HasSubstr(line));
  EXPECT_THAT(test::tree(at("cut")),
              testing::ElementsAre(testing::Key("rank_0/checkpoint_0.ckpt"),
                                   testing::Key("rank_1/checkpoint_1.ckpt")));
  EXPECT_EQ(transform(at("cut"), at("mp2.ckpt"), at("back"), "None").exit, 0);
  EXPECT_EQ(test::slurp(at("back/rank_0/checkpoint_0.ckpt")), test::slurp(at("whole.ckpt")));
}

TEST_F(TransformProgram, FailsWithOneLineAndNoOutput) {
  test::save_strategy(at("mp3.ckpt"),
                      test::make_strategy(1, {{"w", test::make_layout({3}, {{0, -1}})}}));
  test::save_strategy(at("other.ckpt"),
                      test::make_strategy(1, {{"v", test::make_layout({2}, {{0}})}}));
  const auto refuse = [&](int exit, const std::string& message, const Outcome& outcome) {
    SCOPED_TRACE(message);
    EXPECT_EQ(outcome.exit, exit);
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(at("out")));
  };
  const std::string whole = at("whole.ckpt"), out = at("out");
  refuse(9, "3 devices do not divide", transform(whole, "", out, at("mp3.ckpt")));
  refuse(9, "none of the parameters", transform(whole, "", out, at("other.ckpt")));
  refuse(9, "one file, but", transform(whole, at("mp2.ckpt"), out, ""));
  refuse(3, "whole.ckpt", transform(whole, "", out, whole));
  refuse(4, "no such file", transform(at("nowhere"), "", out, at("mp2.ckpt")));
  refuse(2, "--dst_ckpt_dir", run({"transform", "--src_ckpt_dir", whole}));
  refuse(2, "transform_process_num",
         run({"transform", "--src_ckpt_dir", whole, "--dst_ckpt_dir", out,
              "--transform_process_num", "0"}));
  refuse(2, "prefix",
         run({"transform", "--src_ckpt_dir", whole, "--dst_ckpt_dir", out, "--prefix", "../x"}));
}

// A run's checkpoint to the recipe's files and back, and a run that goes on from that.
TEST(TransformProgramOfARun, TheOptimizersStateGoesThereAndBack) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  test::spew(folder / "c.yaml", test::kTinyRecipe);
  test::write_tiny_records(folder / "d.mindrecord");
  const auto cria = [&](const std::string& words) {
    return run(words_of(words, "", folder.path(), ""), folder.path());
  };
  const std::string train =
      "run_llama3 --config {i}/c.yaml --train_data {i}/d.mindrecord --threads 1 ";
  ASSERT_EQ(cria(train + "--runner_config.epochs 1").exit, 0);
  const std::string native = folder / "output/checkpoint/rank_0/native";
  ASSERT_EQ(cria("transform --src_ckpt_dir " + native + " --dst_ckpt_dir cut").exit, 0);
  EXPECT_TRUE(test::slurp(folder / "cut/rank_0/checkpoint_0.ckpt") ==
              test::slurp(folder / "output/checkpoint/rank_0/tiny_rank_0-1_4.ckpt"));
  const std::string back =
      "transform --src_ckpt_dir cut --dst_format native --dst_ckpt_dir made --config ";
  ASSERT_EQ(cria(back + native + "/step-0000000004").exit, 0);
  EXPECT_EQ(cria("verify made").exit, 0);
  const Outcome resumed =
      cria(train + "--resume_training True --load_checkpoint made/step-0000000004");
  EXPECT_EQ(resumed.exit, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("do not tell seed, data"));

  std::string bytes = test::slurp(native + "/step-0000000004/adam_v.safetensors");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  test::spew(native + "/step-0000000004/adam_v.safetensors", bytes);
  for (const auto& [exit, words, message] :
       {std::tuple(3, "--src_ckpt_dir " + native + "/step-0000000004", "is damaged"),
        std::tuple(2, "--src_ckpt_dir " + native + " --dst_format hf", "expected ckpt or native"),
        std::tuple(2, std::string("--src_ckpt_dir cut --dst_format native"), "--config")}) {
    const Outcome refused = cria("transform --dst_ckpt_dir out " + words);
    EXPECT_EQ(refused.exit, exit) << words;
    EXPECT_THAT(refused.err, HasSubstr(message));
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "out")) << words;
  }
}

}  // namespace
}  // namespace cria::e2e
