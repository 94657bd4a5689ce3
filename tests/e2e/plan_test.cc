// cria plan, and whether runs keep to their plans.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/temporary_folder.h"
#include "formats/mindrecord.h"
#include "program.h"
#include "refused.h"

namespace cria::e2e {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Outcome plan(const std::string& words) { return run(words_of("plan " + words, "", "", "")); }

TEST(Plan, SaysThatASmallModelFits) {
  const Outcome got = plan("--model tiny --seq_length 128 --device_memory 1GB");
  EXPECT_EQ(got.exit, 0) << got.err;
  EXPECT_THAT(got.out, HasSubstr("moments"));
  EXPECT_THAT(got.out, HasSubstr("\nfits: "));
}

TEST(Plan, RefusesWhatDoesNotFitAndSaysWhatWould) {
  const Outcome got = plan("--model 8b --device_memory 64GB");
  EXPECT_EQ(got.exit, 5);
  EXPECT_THAT(got.out, HasSubstr("moments"));
  EXPECT_THAT(got.err, HasSubstr("error: plan: does not fit: "));
  EXPECT_THAT(got.err, HasSubstr("; try: 4 ranks: "));
  EXPECT_EQ(std::ranges::count(got.err, '\n'), 1);
}

TEST(Plan, ReadsTheRecipesFilesAndFlags) {
  const std::string file =
      std::string(CRIA_SOURCE_DIR) + "/configs/llama3/finetune_llama3_70b_8k_800T_A2_64G.yaml";
  const Outcome got = run({"plan", "--config", file, "--dp", "8", "--mp", "8", "--pp", "8",
                           "--micro_batch_num", "16", "--device_memory", "64GB", "--json"});
  EXPECT_EQ(got.exit, 0) << got.err;
  const json said = json::parse(got.out);
  EXPECT_EQ(said["parameters"], 70553706496);
  EXPECT_EQ(said["ranks"], 512);
  EXPECT_EQ(said["fits"], true);
  int64_t sum = 0;
  for (const auto& [name, bytes] : said["fullest_rank"]["items"].items())
    sum += bytes.get<int64_t>();
  EXPECT_EQ(said["fullest_rank"]["bytes"], sum);
}

TEST(Plan, ChoosesALayoutForRanks) {
  const Outcome got = plan(
      "--model 70b --ranks 64 --recompute --gradient_accumulation_steps 64 --device_memory 64GB "
      "--json");
  EXPECT_EQ(got.exit, 0) << got.err;
  const json first = json::parse(got.out)["layouts"][0];
  EXPECT_EQ(first["data_parallel"].get<int>() * first["model_parallel"].get<int>() *
                first["pipeline_stage"].get<int>(),
            64);
  EXPECT_EQ(first["fits"], true);
}

/// Records of random tokens, all of them trained.
void write_records(const std::string& path) {
  MindRecordWriter writer(path,
                          {"text", {{"input_ids", MindRecordColumn::Type::int32, {-1}, true}}});
  for (uint64_t row = 0; row < 32; ++row) {
    std::vector<int32_t> ids;
    for (uint64_t t = 0; t < 129; ++t)
      ids.push_back(static_cast<int32_t>(1 + random_bits(1, row, t) % 16000));
    const std::span<const int32_t> columns[] = {ids};
    writer.write_row(columns);
  }
  writer.commit();
}

constexpr const char* kRun = R"(
runner_config: {epochs: 1, batch_size: 4, sink_mode: False, gradient_accumulation_steps: 1}
optimizer: {type: AdamW}
lr_schedule: {type: CosineWithWarmUpLR, learning_rate: 1.e-4, warmup_steps: 1}
train_dataset: {data_loader: {type: MindDataset, dataset_dir: ""}, input_columns: ["input_ids"]}
use_parallel: False
parallel: {parallel_mode: 1, enable_parallel_optimizer: True}
parallel_config: {data_parallel: 1, model_parallel: 1, pipeline_stage: 1, micro_batch_num: 1}
recompute_config: {recompute: False}
model:
  model_config:
    {seq_length: 128, hidden_size: 192, num_layers: 6, num_heads: 6, n_kv_heads: 3, intermediate_size: 512, vocab_size: 16384,
     pad_token_id: 0, compute_dtype: float32, param_init_type: float32}
)";

/// The words that `cria launch` starts with so many ranks, and the ranks' share of the plan at their peaks.
void expect_within_five_percent(int ranks, std::vector<std::string> flags) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  write_file(folder / "run.yaml", kRun);
  write_records(folder / "text.mindrecord");
  std::vector<std::string> words = {
      "run-llama3", "--config",  "run.yaml", "--train_data", "text.mindrecord", "--max_steps",
      "2",          "--threads", "1"};
  words.insert(words.end(), flags.begin(), flags.end());
  if (ranks > 1) {
    const std::vector<std::string> launch = {"launch", "--nproc", std::to_string(ranks), "--",
                                             CRIA_PROGRAM};
    words.insert(words.begin(), launch.begin(), launch.end());
  }
  const Outcome got = run(words, folder.path());
  ASSERT_EQ(got.exit, 0) << got.out << got.err;
  for (int r = 0; r < ranks; ++r) {
    const std::string log = read_text(folder / fmt::format("output/log/rank_{}/info.log", r));
    constexpr std::string_view kWords = "Memory of this rank: planned ";
    const size_t at = log.find(kWords);
    ASSERT_NE(at, std::string::npos) << log;
    double planned = 0, peak = 0;
    ASSERT_EQ(
        std::sscanf(log.c_str() + at + kWords.size(), "%lf MiB, at its peak %lf", &planned, &peak),
        2);
    EXPECT_NEAR(planned, peak, 0.05 * peak)
        << "rank " << r << ": " << fmt::format("{}", fmt::join(flags, " "));
  }
}

class Peak : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's own memory is not planned";
#endif
  }
};
TEST_F(Peak, OfOneRankIsAsPlanned) { expect_within_five_percent(1, {}); }
TEST_F(Peak, WithAccumulationAndRecomputingIsAsPlanned) {
  expect_within_five_percent(1, {"--runner_config.gradient_accumulation_steps", "2",
                                 "--recompute_config.recompute", "True"});
}
TEST_F(Peak, InSixteenBitsIsAsPlanned) {
  expect_within_five_percent(1, {"--model.model_config.compute_dtype", "bfloat16",
                                 "--model.model_config.param_init_type", "bfloat16"});
}
TEST_F(Peak, OfTwoRanksIsAsPlanned) {
  if (std::system("command -v mpirun >/dev/null 2>&1") != 0) GTEST_SKIP() << "no mpirun";
  expect_within_five_percent(2, {"--use_parallel", "True", "--dp", "2"});
}

}  // namespace
}  // namespace cria::e2e
