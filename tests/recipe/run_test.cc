// Whole runs of a tiny random model, through the recipe's own command line.
#include "recipe/run.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/temporary_folder.h"
#include "checkpoint/train_checkpoint.h"
#include "recipe/run_device.h"
#include "recipe/tiny_recipe.h"

namespace cria::recipe {
namespace {

class RecipeRun : public ::testing::Test {
 protected:
  void SetUp() override {
    write_file(folder_ / "c.yaml", test::kTinyRecipe);
    test::write_tiny_records(folder_ / "d.mindrecord");
  }
  // Output of a run goes to a folder of its own, by the recipe's own variable.
  int run(const std::string& output, std::vector<std::string> more) {
    setenv("LOCAL_DEFAULT_PATH", (folder_ / output).c_str(), 1);
    std::vector<std::string> words = {"--config", folder_ / "c.yaml", "--train_data",
                                      folder_ / "d.mindrecord"};
    words.insert(words.end(), more.begin(), more.end());
    ::testing::internal::CaptureStdout();
    int code = -1;
    try {
      code = run_script(Script::run_llama3, "run_llama3", words);
    } catch (const Error& e) {
      message_ = e.what();
      code = static_cast<int>(e.code);
    }
    text_ = ::testing::internal::GetCapturedStdout();
    unsetenv("LOCAL_DEFAULT_PATH");
    return code;
  }
  std::string bytes(const std::string& output, const std::string& file) {
    return read_text(folder_ / (output + "/" + file));
  }
  std::string network(const std::string& output) {
    return bytes(output, "checkpoint_network/rank_0/tiny_rank_0-network.ckpt");
  }
  std::string state(const std::string& output, int64_t step) {
    const std::string root = checkpoint_folder(output + "/checkpoint/rank_0/native", step);
    std::string all;
    for (const char* file : {"model", "master_lo", "adam_m", "adam_v"})
      all += bytes(root, std::string(file) + ".safetensors");
    return all;
  }
  TemporaryFolder folder_ = TemporaryFolder::in_memory();
  std::string text_, message_;
};

TEST_F(RecipeRun, stopAndResumeGiveTheSameBitsForEveryStep) {
  ASSERT_EQ(run("whole", {}), 0) << message_;
  for (int64_t k = 1; k < 8; ++k) {
    const std::string output = "part" + std::to_string(k);
    ASSERT_EQ(run(output, {"--max_steps", std::to_string(k)}), 0) << message_;
    ASSERT_NE(state(output, k), state("whole", 8));
    ASSERT_EQ(run(output, {"--resume", "True"}), 0) << message_;
    EXPECT_EQ(state(output, 8), state("whole", 8)) << k;
    EXPECT_EQ(network(output), network("whole")) << k;
  }
}

TEST_F(RecipeRun, threadsDoNotChangeResults) {
  ASSERT_EQ(run("one", {"--threads", "1"}), 0) << message_;
  ASSERT_EQ(run("two", {"--threads", "2"}), 0) << message_;
  EXPECT_EQ(state("one", 8), state("two", 8));
}

TEST_F(RecipeRun, writesTheRecipesLayoutAndLines) {
  ASSERT_EQ(run("out", {}), 0) << message_;
  const std::string checkpoints = folder_ / "out/checkpoint/rank_0/";
  EXPECT_FALSE(is_file(checkpoints + "tiny_rank_0-1_2.ckpt"));  // three are kept
  for (const char* name : {"1_4", "2_2", "2_4"})
    EXPECT_TRUE(is_file(checkpoints + "tiny_rank_0-" + name + ".ckpt")) << name;
  EXPECT_EQ(read_text(checkpoints + "meta.json"),
            R"({"last_epoch":2,"last_step":4,"last_ckpt_file":"tiny_rank_0-2_4.ckpt"})");
  for (const char* line :
       {"Create train dataset finish, dataset size:4", "Will be Training epochs:8, sink_size:1",
        "{ Epoch:[  1/  2], step:[    1/    4], loss:[", "overflow cond: False, loss_scale: 1.0",
        "......Saving ckpt......", ".........Training Over!............."})
    EXPECT_NE(text_.find(line), std::string::npos) << line;
  const std::string log = bytes("out", "log/rank_0/info.log");
  for (const char* line : {"train with ", "{ Epoch:[  1/  2]", "Training Over!"})
    EXPECT_NE(log.find(line), std::string::npos) << line;
  // A second fresh run leaves the first one's files alone.
  ASSERT_EQ(run("out", {"--max_steps", "1"}), 0) << message_;
  EXPECT_TRUE(is_file(checkpoints + "tiny_1_rank_0-1_1.ckpt"));
  EXPECT_EQ(checkpoint_steps(checkpoints + "native").back(), 8);
  EXPECT_EQ(checkpoint_steps(checkpoints + "native_1").back(), 1);
}

TEST_F(RecipeRun, evaluatesItsOwnNetworkFileAndTheTrainingCheckpoint) {
  ASSERT_EQ(run("out", {}), 0) << message_;
  std::string results[2];
  const std::string weights[] = {folder_ / "out/checkpoint_network/rank_0/tiny_rank_0-network.ckpt",
                                 checkpoint_folder(folder_ / "out/checkpoint/rank_0/native", 8)};
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(run("eval", {"--run_mode", "eval", "--load_checkpoint", weights[i], "--eval_dataset",
                           folder_ / "d.mindrecord"}),
              0)
        << message_;
    const size_t at = text_.find("PerplexityMetric = {'PerplexityMetric': {'loss': ");
    ASSERT_NE(at, std::string::npos);
    results[i] = text_.substr(at, text_.find('\n', at) - at);
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_F(RecipeRun, evaluatesWhileItTrains) {
  const auto evaluated = [&](const std::string& output, const std::string& keys) {
    write_file(folder_ / "c.yaml", std::string(test::kTinyRecipe) + keys);
    EXPECT_EQ(run(output, {"--eval_dataset", folder_ / "d.mindrecord"}), 0) << message_;
    std::vector<std::string> lines;
    const std::string begin = "Eval result at step ";
    for (size_t at = 0; (at = text_.find(begin, at)) != std::string::npos; ++at)
      lines.push_back(text_.substr(at + begin.size(), text_.find('\n', at) - at - begin.size()));
    return lines;
  };
  const auto by_step = evaluated("steps", "do_eval: True\neval_step_interval: 3\n");
  ASSERT_EQ(by_step.size(), 2U);
  EXPECT_TRUE(by_step[0].starts_with("3: {'PerplexityMetric': {'loss': ")) << by_step[0];
  EXPECT_TRUE(by_step[1].starts_with("6: ")) << by_step[1];
  const auto by_epoch =
      evaluated("epochs", "do_eval: True\neval_step_interval: -1\neval_epoch_interval: 2\n");
  ASSERT_EQ(by_epoch.size(), 1U);
  EXPECT_EQ(evaluated("none", "do_eval: False\neval_step_interval: 3\n").size(), 0U);
  // Looking changes nothing, and sees what eval mode sees.
  EXPECT_EQ(state("steps", 8), state("none", 8));
  ASSERT_EQ(run("eval", {"--run_mode", "eval", "--eval_dataset", folder_ / "d.mindrecord",
                         "--load_checkpoint",
                         folder_ / "epochs/checkpoint_network/rank_0/tiny_rank_0-network.ckpt"}),
            0)
      << message_;
  EXPECT_NE(text_.find("PerplexityMetric = " + by_epoch[0].substr(3)), std::string::npos)
      << by_epoch[0];
}

TEST_F(RecipeRun, anEvaluationWithoutDataIsRefusedBeforeTraining) {
  write_file(folder_ / "c.yaml", std::string(test::kTinyRecipe) + "do_eval: True\n");
  EXPECT_EQ(run("bad", {}), 2);
  EXPECT_NE(message_.find("eval_dataset"), std::string::npos) << message_;
  EXPECT_FALSE(is_folder(folder_ / "bad/checkpoint"));
}

TEST_F(RecipeRun, resumesFromAFolderThatIsNamed) {
  ASSERT_EQ(run("out", {}), 0) << message_;
  const std::string whole = state("out", 8);
  const std::string named = checkpoint_folder(folder_ / "out/checkpoint/rank_0/native", 4);
  write_file(folder_ / "c.yaml",
             std::string(test::kTinyRecipe) + "resume_training: \"" + named + "\"\n");
  ASSERT_EQ(run("elsewhere", {}), 0) << message_;
  EXPECT_NE(text_.find("Training goes on after step 4"), std::string::npos);
  EXPECT_EQ(state("elsewhere", 8), whole);
  // A damaged one that was named is an error; it is not passed over for another.
  const std::string file = named + "/adam_m.safetensors";
  std::string bytes = read_text(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(file, bytes);
  EXPECT_EQ(run("again", {}), 3) << message_;
  EXPECT_NE(message_.find("adam_m.safetensors"), std::string::npos) << message_;
}

TEST_F(RecipeRun, otherDataAreNotResumedOn) {
  ASSERT_EQ(run("out", {"--max_steps", "3"}), 0) << message_;
  EXPECT_EQ(run("out", {"--resume", "True", "--train_dataset.data_loader.num_samples", "8"}), 9)
      << message_;
  EXPECT_NE(message_.find("dataset fingerprint"), std::string::npos) << message_;
}

TEST_F(RecipeRun, threeNonFiniteStepsInARowEndWithEight) {
  EXPECT_EQ(run("nan", {"--lr_schedule.learning_rate", "1e30", "--lr_schedule.warmup_steps", "0",
                        "--optimizer.master_weights=none"}),
            8)
      << message_;
  EXPECT_NE(message_.find("terminate training"), std::string::npos) << message_;
}

TEST_F(RecipeRun, mistakesHaveTheirCodes) {
  const auto override_with = [&](const std::string& key, const std::string& value) {
    return run("bad", {"--" + key, value});
  };
  EXPECT_EQ(override_with("model.model_config.pad_token_id", "2"), 2);
  EXPECT_NE(message_.find("try: prepare the data with another pad"), std::string::npos);
  EXPECT_EQ(override_with("model.model_config.eos_token_id", "40"), 2);
  EXPECT_EQ(override_with("runner_config.batch_size", "10"), 2);
  EXPECT_EQ(override_with("model.model_config.seq_length", "20"), 9);
  EXPECT_EQ(override_with("model.model_config.nonsense", "1"), 2);
  EXPECT_EQ(override_with("model.model_config.num_layers", "1.5"), 2);
  EXPECT_EQ(run("bad", {"--resume", "True"}), 9);
  EXPECT_EQ(run("bad", {"--use_parallel", "True", "--dp", "2"}), 2);
  EXPECT_NE(message_.find("try: --use_parallel False"), std::string::npos);
  EXPECT_EQ(run("bad", {"--run_mode", "predict", "--predict_data", "x"}), 2);
  EXPECT_FALSE(is_folder(folder_ / "bad/checkpoint"));
  ASSERT_EQ(run("good", {}), 0) << message_;
  const std::string native = checkpoint_folder(folder_ / "good/checkpoint/rank_0/native", 8);
  EXPECT_EQ(run("bad", {"--load_checkpoint", native, "--model.model_config.num_layers", "3"}), 9);
  EXPECT_NE(message_.find("num_layers is 3, but the weights have 2"), std::string::npos)
      << message_;
}

TEST(RunDevice, SeveralRanksComputeOnProcessors) {
  RecipeSettings s;
  EXPECT_EQ(device_of_run(s), nullptr);
  s.parallel.dp = 2;
  EXPECT_EQ(device_of_run(s), nullptr);
  s.gpu = 0;
  EXPECT_THROW(device_of_run(s), UsageError);
}

}  // namespace
}  // namespace cria::recipe
