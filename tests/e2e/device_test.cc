// --device: the commands on an emulated GPU, through the library that the program loads.
#ifdef CRIA_EMULATED_CUDA
#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>

#include "formats/files.h"
#include "formats/safetensors.h"
#include "program.h"
#include "valid_files.h"

namespace cria::e2e {
namespace {

class OnDevice : public testing::Test {
 protected:
  OnDevice() { setenv("CRIA_CUDA_LIBRARY", CRIA_EMULATED_CUDA, 1); }
  ~OnDevice() override { unsetenv("CRIA_CUDA_LIBRARY"); }
  Outcome succeed(const std::string& words) {
    Outcome got = run(words_of(words, "", valid_files(), folder_.path()), folder_.path());
    EXPECT_EQ(got.exit, 0) << words << "\n" << got.err;
    return got;
  }
  /// Three samples of 16 tokens in rows.mindrecord.
  void make_rows() {
    test::spew(folder_ / "text", "hi you and you and hi again, you and hi and you: hi");
    succeed(
        "preprocess --dataset_type wiki --input_glob {o}/text --model_file {i}/tok.model "
        "--seq_length 16 --output_file {o}/rows.mindrecord");
  }
  const TemporaryFolder folder_ = TemporaryFolder::in_memory();
};

std::vector<float> values(const TensorReader& file, size_t i) {
  std::vector<float> out(static_cast<size_t>(file.tensors()[i].elements()));
  file.read(i, 0, std::as_writable_bytes(std::span(out)));
  return out;
}

// Every tensor of the comparison tool: logits, losses and gradients in f32 from sums of some hundred terms.
TEST_F(OnDevice, ProbeGivesTheProcessorsNumbers) {
  const std::string words =
      "probe --model {i}/tiny --input {i}/probe.safetensors --grads --output {o}/";
  succeed(words + "here");
  succeed(words + "there --device cuda");
  const auto here = open_safetensors(folder_ / "here"), there = open_safetensors(folder_ / "there");
  ASSERT_EQ(here->tensors().size(), there->tensors().size());
  for (size_t i = 0; i < here->tensors().size(); ++i) {
    const std::vector<float> a = values(*here, i), b = values(*there, i);
    ASSERT_EQ(a.size(), b.size());
    double largest = 0, apart = 0;
    for (size_t e = 0; e < a.size(); ++e) {
      largest = std::max<double>(largest, std::abs(a[e]));
      apart = std::max<double>(apart, std::abs(a[e] - b[e]));
    }
    EXPECT_LE(apart, 1e-5 * std::max(largest, 1e-3)) << here->tensors()[i].name;
  }
}

TEST_F(OnDevice, FinetuneTrainsStopsAndGoesOnAsWithoutAPause) {
  make_rows();
  const std::string words =
      "finetune --model {i}/tiny --data {o}/rows.mindrecord --vocab_file {i}/tok.model "
      "--seq_length 16 --batch_size 1 --epochs 3 --dtype fp32 --lr 1e-3 --total_steps 3 --device "
      "cuda:0 --output {o}/";
  succeed(words + "whole");
  succeed(words + "parts --max_steps 1");
  EXPECT_THAT(succeed(words + "parts --resume").out, testing::HasSubstr("resumed after step 1"));
  EXPECT_EQ(test::slurp(folder_ / "whole/model/model.safetensors"),
            test::slurp(folder_ / "parts/model/model.safetensors"));
}

TEST_F(OnDevice, GenerateGivesTheProcessorsTokens) {
  const std::string words =
      "generate --model {i}/tiny --token_ids 1,2,3 --token_ids 7,8 --max_new_tokens 12 --eos_ids "
      "none "
      "--dtype fp32 --json";
  EXPECT_EQ(succeed(words + " --device cuda").out, succeed(words).out);
}

// With the prompt's few tokens too, x is rounded to 8 bits as on the processor. Blocks of a file are kept unless a dtype is named.
TEST_F(OnDevice, GeneratesWithPackedWeights) {
  const std::string words =
      " --token_ids 1,2,3 --max_new_tokens 3 --eos_ids none --cache_dtype fp32 --json";
  const std::string file = "{o}/q4_0.gguf", of_file = "generate --device cuda --model " + file;
  succeed("quantize --model {i}/tiny --type q4_0 --output " + file);
  for (const char* type : {"q8_0", "q4_0"}) {
    const std::string packed =
        "generate --model {i}/tiny --dtype fp32 --weights " + std::string(type) + words;
    const std::string here = succeed(packed).out;
    EXPECT_EQ(succeed(packed + " --device cuda").out, here) << type;
    if (type == std::string("q4_0")) {
      EXPECT_EQ(succeed(of_file + " --dtype fp32 --weights keep" + words).out, here);
    }
  }
  EXPECT_EQ(succeed(of_file + words).out,
            succeed(of_file + " --dtype bf16 --weights keep" + words).out);
}

TEST_F(OnDevice, GeneratesOverCachesOf8Bits) {
  const std::string words =
      "generate --model {i}/tiny --dtype fp32 --cache_dtype int8 --token_ids 1,2,3,4,5 "
      "--max_new_tokens 6 --eos_ids none --json";
  EXPECT_EQ(succeed(words + " --device cuda").out, succeed(words).out);
}

// Random weights are made there too. The recipe's own files hold what the device held.
TEST_F(OnDevice, TheRecipeTrainsStopsAndGoesOnAsWithoutAPause) {
  make_rows();
  const std::string words =
      "run --config {i}/run.yaml --run_mode train --train_dataset {o}/rows.mindrecord "
      "--train_dataset.input_columns [input_ids] "
      "--model.model_config.seq_length 16 --lr_schedule.total_steps 3 --output_dir {o}/";
  const std::string device = " --device_target GPU --device_id 0";
  const std::vector<double> here =
      numbers_after(", loss:[", succeed(words + "here --max_steps 3").out);
  EXPECT_EQ(here.size(), 3U);
  EXPECT_EQ(numbers_after(", loss:[", succeed(words + "whole --max_steps 3" + device).out), here);
  succeed(words + "parts --max_steps 1" + device);
  succeed(words + "parts --max_steps 3 --resume_training True" + device);
  const std::string network = "/checkpoint_network/rank_0/tiny_rank_0-network.ckpt";
  EXPECT_EQ(test::slurp(folder_ / ("whole" + network)), test::slurp(folder_ / ("parts" + network)));
}

TEST_F(OnDevice, TheRecipeEvaluatesAndPredictsAsTheProcessor) {
  make_rows();
  const std::string eval =
      "run --config {i}/run.yaml --run_mode eval --load_checkpoint {i}/tiny --eval_dataset "
      "{o}/rows.mindrecord --eval_dataset.input_columns [input_ids] "
      "--model.model_config.seq_length 16 --output_dir {o}";
  const std::string device = " --device_target GPU";
  const std::string what = "Every token counted the same: loss ";
  const std::vector<double> here = numbers_after(what, succeed(eval).out),
                            there = numbers_after(what, succeed(eval + device).out);
  ASSERT_EQ(here.size(), 1U);
  ASSERT_EQ(there.size(), 1U);
  EXPECT_NEAR(there[0], here[0], 1e-5);
  const std::string predict =
      "run --config {i}/run.yaml --run_mode predict --load_checkpoint {i}/tiny "
      "--vocab_file {i}/tok.model --model.model_config.max_length 24 --output_dir {o} "
      "--predict_data hi";
  const auto text = [](const std::string& out) {
    const size_t at = out.find("output result is: ");
    return out.substr(at, out.find('\n', at) - at);
  };
  for (const char* weights : {"", " --weights q8_0"})
    EXPECT_EQ(text(succeed(predict + weights + device).out), text(succeed(predict + weights).out));
}

TEST_F(OnDevice, BenchSaysWhatItMeasured) {
  const std::string out =
      succeed(
          "bench --random tiny --prompt 16 --tokens 2 --repeat 1 --what prefill,decode,train "
          "--storage bf16 --recompute --device cuda --json")
          .out;
  EXPECT_THAT(out, testing::HasSubstr("\"device\": \"compute capability 9."));
  EXPECT_THAT(out, testing::Not(testing::HasSubstr("int8 dot products")));
  for (const char* what : {"\"tokens_per_s\": ", "\"peak_memory_bytes\": "}) {
    const std::vector<double> numbers = numbers_after(what, out);
    ASSERT_EQ(numbers.size(), 3U) << what;
    for (const double n : numbers) EXPECT_GT(n, 0) << what;
  }
}

TEST_F(OnDevice, EvalGivesTheProcessorsPerplexity) {
  test::spew(folder_ / "text.txt", "aaaaaaaaaa It was a dark and stormy night.");
  const std::string words =
      "eval --model {i}/tiny --vocab_file {i}/tok.model --dtype fp32 --reference {i}/tiny "
      "--reference_dtype bf16 --text {o}/text.txt --context 24 --json";
  const std::string here = succeed(words).out, there = succeed(words + " --device cuda").out;
  for (const char* what : {"\"loss\":", "\"reference_perplexity\":", "\"kl_divergence\":"}) {
    const std::vector<double> a = numbers_after(what, here), b = numbers_after(what, there);
    ASSERT_EQ(a.size(), 1U) << what;
    ASSERT_EQ(b.size(), 1U) << what;
    // The reference computes in bf16, whose roundings differ.
    EXPECT_NEAR(a[0], b[0], 1e-3 * std::max(1.0, std::abs(a[0]))) << what;
  }
}

TEST_F(OnDevice, WhatAGpuCannotDoIsOneLine) {
  const std::string predict =
      "run_llama3 --config {i}/run.yaml --run_mode predict --load_checkpoint {i}/tiny --vocab_file "
      "{i}/tok.model --predict_data hi ";
  const std::string generate = "generate --model {i}/tiny --token_ids 1 ";
  const std::pair<std::string, std::string> refused[] = {
      {predict + "--device_id 1 --context.device_target GPU", "no CUDA device 1"},
      {predict + "--device_id 0 --context.device_target TPU", "device_target is TPU"},
      {generate + "--device gpu", "--device is \"gpu\""},
      {generate + "--device cuda:x", "--device is \"cuda:x\""},
      {generate + "--device cuda:1", "no CUDA device 1"}};
  for (const auto& [words, reason] : refused) {
    const Outcome got = run(words_of(words, "", valid_files(), folder_.path()));
    EXPECT_EQ(got.exit, 2) << words << "\n" << got.err;
    EXPECT_EQ(std::ranges::count(got.err, '\n'), 1) << got.err;
    EXPECT_THAT(got.err, testing::HasSubstr(reason)) << words;
  }
}

TEST(WithoutALibrary, ADeviceIsRefusedInOneLine) {
  const Outcome got =
      run(words_of("generate --model {i}/tiny --token_ids 1 --device cuda", "", valid_files(), ""));
  // With a GPU and its library, this machine answers.
  if (got.exit == 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(got.exit, 2) << got.err;
  EXPECT_THAT(got.err, testing::StartsWith("error: "));
  EXPECT_EQ(std::ranges::count(got.err, '\n'), 1) << got.err;
}

}  // namespace
}  // namespace cria::e2e
#endif
