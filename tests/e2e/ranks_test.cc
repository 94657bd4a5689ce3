// Several real ranks under mpirun that train, answer and evaluate, and one process that reads what they saved.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "formats/files.h"
#include "launch/process.h"
#include "program.h"
#include "valid_files.h"

namespace cria::e2e {
namespace {

using testing::HasSubstr;

class MpiRanks : public testing::Test {
 protected:
  void SetUp() override {
    if (find_program("mpirun", false).empty()) GTEST_SKIP() << "no mpirun in PATH";
    if (!std::filesystem::exists(parent_folder(CRIA_PROGRAM) + "/libcria_mpi.so"))
      GTEST_SKIP() << "built without MPI";
  }
  /// run_llama3 on so many ranks, in the test's folder. {i} is the folder of valid files, {o} the test's.
  [[nodiscard]] Outcome llama(int ranks, const std::string& words) const {
    const std::string command =
        "run_llama3 --config {i}/run.yaml --vocab_file {i}/tok.model --threads 1 " + words;
    const std::string launched =
        ranks == 1 ? command
                   : fmt::format("launch --nproc {} --log_dir {{o}}/logs -- ", ranks) + command;
    return run(words_of(launched, "", valid_files(), folder_.path()), folder_.path());
  }
  std::string answers(int ranks, const std::string& words) {
    std::filesystem::remove(folder_ / "text_generation_result.txt");
    Outcome got = llama(ranks, "--run_mode predict --max_length " + max_length_ + " " + words +
                                   " --predict_data love hate a b c");
    EXPECT_EQ(got.exit, 0) << got.err << test::slurp(folder_ / "logs/worker_0.log");
    return test::slurp(folder_ / "text_generation_result.txt");
  }
  /// Two ranks that each save half of every matrix.
  void train() {
    const Outcome got =
        llama(2,
              "--run_mode train --use_parallel True --mp 2 --load_checkpoint {i}/tiny --train_data "
              "{i}/rows.mindrecord");
    ASSERT_EQ(got.exit, 0) << got.err;
  }
  const TemporaryFolder folder_ = TemporaryFolder::in_memory();
  std::string max_length_ = "24";
};

TEST_F(MpiRanks, AnswerAsOneRankDoes) {
  const std::string alone = answers(1, "--load_checkpoint {i}/tiny");
  EXPECT_THAT(alone, HasSubstr("['love"));
  for (const char* layout :
       {"--dp 2", "--mp 2", "--mp 2 --parallel_config.vocab_emb_dp False", "--pp 2"})
    EXPECT_EQ(answers(2, std::string("--load_checkpoint {i}/tiny --use_parallel True ") + layout),
              alone)
        << layout;
  EXPECT_EQ(answers(4, "--load_checkpoint {i}/tiny --use_parallel True --mp 2 --pp 2"), alone);
}

TEST_F(MpiRanks, EvaluateAsOneRankDoes) {
  const auto metric = [&](int ranks, const std::string& layout) {
    const Outcome got =
        llama(ranks,
              "--run_mode eval --load_checkpoint {i}/tiny --eval_dataset {i}/rows.mindrecord "
              "--eval_dataset.input_columns [\"input_ids\"] " +
                  layout);
    EXPECT_EQ(got.exit, 0) << got.err;
    const std::string begin = "'loss': ";
    const size_t at = got.out.find(begin);
    return at == std::string::npos ? -1 : std::stod(got.out.substr(at + begin.size()));
  };
  const double alone = metric(1, "");
  ASSERT_GT(alone, 0);
  EXPECT_EQ(metric(2, "--use_parallel True --dp 2"), alone);
  EXPECT_EQ(metric(2, "--use_parallel True --pp 2 --micro_batch_num 2"), alone);
  EXPECT_NEAR(metric(2, "--use_parallel True --mp 2"), alone, 1e-5);
}

#ifdef CRIA_EMULATED_CUDA
/// Ranks that share the one emulated GPU, which is theirs in their own processes.
class MpiRanksOnDevices : public MpiRanks {
 protected:
  MpiRanksOnDevices() {
    setenv("CRIA_CUDA_LIBRARY", CRIA_EMULATED_CUDA, 1);
    setenv("CRIA_LOCAL_RANK", "0", 1);
    max_length_ = "8";  // an emulated token takes long
  }
  ~MpiRanksOnDevices() override {
    unsetenv("CRIA_CUDA_LIBRARY");
    unsetenv("CRIA_LOCAL_RANK");
  }
};

TEST_F(MpiRanksOnDevices, AnswerAsTheProcessorDoes) {
  const std::string alone = answers(1, "--load_checkpoint {i}/tiny");
  for (const char* layout : {"--mp 2 --parallel_config.vocab_emb_dp False", "--pp 2"})
    EXPECT_EQ(answers(2, std::string("--load_checkpoint {i}/tiny --use_parallel True "
                                     "--device_id 0 --context.device_target GPU ") +
                             layout),
              alone)
        << layout;
}

TEST_F(MpiRanksOnDevices, TrainAsTheProcessorDoes) {
  const auto losses = [&](const std::string& words) {
    const Outcome got =
        llama(2,
              "--run_mode train --use_parallel True --load_checkpoint {i}/tiny --train_data "
              "{i}/rows.mindrecord " +
                  words);
    EXPECT_EQ(got.exit, 0) << got.err;
    return numbers_after(", loss:[", test::slurp(folder_ / "logs/worker_0.log"));
  };
  // tests/ops_cuda has the other layouts, as threads.
  const std::string layout = "--mp 2";
  const std::vector<double> here = losses(layout);
  EXPECT_FALSE(here.empty());
  EXPECT_EQ(losses(layout + " --device_id 0 --context.device_target GPU"), here);
}

#endif

TEST_F(MpiRanks, WhatTheySaveLoadsEverywhereWithItsStrategy) {
  train();
  const std::string slices =
      "--load_checkpoint {o}/output/checkpoint_network --src_strategy {o}/output/strategy ";
  const std::string alone = answers(1, slices);
  EXPECT_EQ(answers(1, "--load_checkpoint {o}/output/checkpoint/rank_0/native/step-0000000002"),
            alone);
  for (const char* layout : {"--mp 2", "--dp 2"})
    EXPECT_EQ(answers(2, slices + "--use_parallel True " + layout), alone) << layout;
  EXPECT_EQ(answers(1, slices + "--auto_trans_ckpt True"), alone);
  EXPECT_EQ(answers(1, "--load_checkpoint {o}/output/transformed_checkpoint/checkpoint_network"),
            alone);
}

TEST_F(MpiRanks, CommandsOfOneProcessReadTheirSlicesToo) {
  train();
  const auto words = [&](const std::string& text) {
    return run(words_of(text, "", valid_files(), folder_.path()), folder_.path());
  };
  const std::string native = "{o}/output/checkpoint/rank_0/native/step-0000000002";
  const std::string slices =
      "{o}/output/checkpoint_network --src_strategy {o}/output/strategy --config {i}/config.json";
  const std::string rest =
      " --token_ids 5,6,7 --max_new_tokens 8 --eos_ids none --dtype fp32 --json";
  const Outcome whole = words("generate --model " + native + rest);
  const Outcome sliced = words("generate --model " + slices + rest);
  EXPECT_EQ(sliced.exit, 0) << sliced.err;
  EXPECT_EQ(sliced.out, whole.out);
  ASSERT_EQ(words("convert --input " + slices + " --output {o}/a").exit, 0);
  ASSERT_EQ(words("convert --input " + native + " --output {o}/b").exit, 0);
  EXPECT_EQ(test::slurp(folder_ / "a/model.safetensors"),
            test::slurp(folder_ / "b/model.safetensors"));
  const std::string probe = " --input {i}/probe.safetensors --output {o}/";
  ASSERT_EQ(words("probe --model " + slices + probe + "p.safetensors").exit, 0);
  ASSERT_EQ(words("probe --model " + native + probe + "q.safetensors").exit, 0);
  EXPECT_EQ(test::slurp(folder_ / "p.safetensors"), test::slurp(folder_ / "q.safetensors"));
  // Without the strategy they are no whole model, and one rank's file is none either.
  const Outcome bare = words(
      "generate --model {o}/output/checkpoint_network --config "
      "{i}/config.json" +
      rest);
  EXPECT_EQ(bare.exit, 2);
  EXPECT_THAT(bare.err, HasSubstr("--src_strategy"));
}

}  // namespace
}  // namespace cria::e2e
