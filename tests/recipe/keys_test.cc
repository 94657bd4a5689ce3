#include "recipe/keys.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "recipe/modes.h"
#include "recipe/run.h"
#include "recipe/settings.h"

namespace cria::recipe {
namespace {

std::string failure_of(const std::string& yaml) {
  try {
    check_keys(parse_yaml(yaml, "t.yaml"), "t.yaml");
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}
std::vector<std::string> shipped() {
  std::vector<std::string> files;
  for (const auto& f : std::filesystem::directory_iterator(CRIA_SOURCE_DIR "/configs/llama3"))
    files.push_back(f.path().string());
  return files;
}

TEST(Keys, anUnknownKeyIsNamedWithPlaceAndNearest) {
  const std::string e = failure_of("seed: 0\nrunner_config:\n  epochs: 1\n  bach_size: 2\n");
  EXPECT_NE(e.find("t.yaml line 4 col 14"), std::string::npos) << e;
  EXPECT_NE(e.find("runner_config.bach_size"), std::string::npos) << e;
  EXPECT_NE(e.find("try: runner_config.batch_size"), std::string::npos) << e;
}

TEST(Keys, wrongKindsAndWordsAreRefused) {
  for (const char* yaml :
       {"seed: x", "runner_config: 1", "runner_config: {epochs: 1.5}", "use_parallel: 1",
        "run_mode: trian", "model: {model_config: {compute_dtype: float8}}", "callbacks: {}",
        "callbacks: [{prefix: x}]", "callbacks: [{type: Nobody}]",
        "callbacks: [{type: CheckpointMonitor, prefx: x}]", "parallel: {parallel_mode: 4}",
        "metric: {type: EmF1Metric}", "trainer: {type: Other}"})
    EXPECT_NE(failure_of(yaml), "") << yaml;
}

TEST(Keys, bothSpellingsOfTheCheckpointCallbackAndNullsAreAccepted) {
  EXPECT_EQ(failure_of("callbacks: [{type: CheckpointMointor, prefix: a}, {type: "
                       "CheckpointMonitor, prefix: b}, {type: ObsMonitor}]\nseed:\noutput_dir: ~"),
            "");
}

TEST(Keys, everyShippedConfigurationIsClean) {
  const auto files = shipped();
  EXPECT_EQ(files.size(), 6U);
  for (const std::string& file : files) {
    YamlNode root = load_config(file);
    EXPECT_NO_THROW(check_keys(root, file)) << file;
    set_key(root, "use_parallel", plain_scalar("False"));
    EXPECT_NO_THROW(read_settings(root)) << file;
  }
}

TEST(Settings, theShippedFinetuneFileSaysWhatTheRecipeDoes) {
  YamlNode root = load_config(CRIA_SOURCE_DIR "/configs/llama3/run_llama3_8b_8k_800T_A2_64G.yaml");
  EXPECT_THROW(read_settings(root), UsageError);  // eight devices
  apply_override(root, "parallel_config.data_parallel", "1");
  const RecipeSettings s = read_settings(root);
  EXPECT_FALSE(s.optimizer.bias_correction);
  EXPECT_EQ(s.optimizer.beta2, 0.95);
  EXPECT_EQ(s.optimizer.eps, 1e-8);
  EXPECT_EQ(s.schedule.schedule.lr, 1e-5);
  EXPECT_TRUE(s.recompute.all);
  EXPECT_TRUE(s.train_data.use_labels);
  EXPECT_EQ(s.model.seq_length, 8192);
  EXPECT_EQ(s.model.param, DType::bf16);
  EXPECT_EQ(s.save.prefix, "llama3_8b");
}

TEST(Settings, whatIsCutOverDataParallelRanks) {
  const auto read = [](const std::string& more) {
    return read_settings(parse_yaml("use_parallel: True\nparallel_config: {data_parallel: 2, "
                                    "gradient_aggregation_group: 3}\n" +
                                        more,
                                    "t.yaml"),
                         2);
  };
  const ParallelSettings plain = read("parallel: {enable_parallel_optimizer: True}\n").parallel;
  EXPECT_TRUE(plain.optimizer_shard);
  EXPECT_EQ(plain.zero, 1);
  EXPECT_EQ(plain.gradient_buckets, 3);
  EXPECT_EQ(read("parallel: {parallel_optimizer_config: {gradient_accumulation_shard: True}}\n")
                .parallel.zero,
            2);
  EXPECT_EQ(read("recompute_config: {parallel_optimizer_comm_recompute: True}\n").parallel.zero, 3);
}

TEST(Steps, alpacaOnEightDevicesIsThirteenThousandStepsWithWarmUp390) {
  RecipeSettings s;
  s.batch_size = 8;
  s.epochs = 2;
  s.sink_size = 2;
  s.schedule.warmup_ratio = 0.03;
  const StepPlan p = plan_steps(s, 52002);
  EXPECT_EQ(p.steps_per_epoch, 6500);
  EXPECT_EQ(p.total_steps, 13000);
  EXPECT_EQ(p.schedule.warmup_steps, 390);
}

TEST(Overrides, followPythonsOrderOfTypes) {
  YamlNode root = parse_yaml("model: {model_config: {seq_length: 1}}", "t");
  apply_override(root, "model.model_config.seq_length", "512");
  apply_override(root, "model.model_config.eos_token_id", "[1, 2]");
  apply_override(root, "model.model_config.theta", "1e4");
  apply_override(root, "model.model_config.do_sample", "True");
  const YamlNode* m = find_key(root, "model.model_config");
  EXPECT_EQ(m->find("seq_length")->integer, 512);
  EXPECT_EQ(m->find("eos_token_id")->items.size(), 2U);
  EXPECT_EQ(m->find("theta")->number, 1e4);
  EXPECT_TRUE(m->find("do_sample")->boolean);
  EXPECT_THROW(apply_override(root, "modl.model_config.seq_length", "1"), UsageError);
}

TEST(RunFlags, comeBeforeTheFileAndMayBeShortened) {
  YamlNode root;
  const std::string config = CRIA_SOURCE_DIR "/configs/llama3/predict_llama3_8b_800T_A2_64G.yaml";
  const ParsedRun run =
      parse_run(Script::run_llama3, "run_llama3",
                {"--conf", config, "--train_data", "x.mindrecord", "--seq", "64", "--use_parallel",
                 "FALSE", "--predict_data", "a b", "c", "--model.model_config.top_k=7"},
                root);
  EXPECT_FALSE(run.help);
  EXPECT_EQ(find_key(root, "train_dataset.data_loader.dataset_dir")->text, "x.mindrecord");
  EXPECT_EQ(find_key(root, "model.model_config.seq_length")->integer, 64);
  EXPECT_EQ(find_key(root, "model.model_config.top_k")->integer, 7);
  EXPECT_EQ(find_key(root, "input_data")->items.size(), 2U);
  EXPECT_FALSE(find_key(root, "use_parallel")->boolean);
  EXPECT_THROW(
      parse_run(Script::run_llama3, "x", {"--config", config, "--mo", "0", "--m", "1"}, root),
      UsageError);
  EXPECT_THROW(parse_run(Script::run_llama3, "x", {"--config", config, "--epochs", "1"}, root),
               UsageError);
  EXPECT_THROW(find_config("llama3/none.yaml"), UsageError);
  EXPECT_THROW(find_config("llama3/none.json"), UsageError);
}

}  // namespace
}  // namespace cria::recipe
