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
    Outcome got = run(words_of(words, "", valid_files(), folder_.path()));
    EXPECT_EQ(got.exit, 0) << words << "\n" << got.err;
    return got;
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
  test::spew(folder_ / "text", "hi you and you and hi again, you and hi and you: hi");
  succeed(
      "preprocess --dataset_type wiki --input_glob {o}/text --model_file {i}/tok.model "
      "--seq_length 16 --output_file {o}/rows.mindrecord");
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

TEST_F(OnDevice, WhatAGpuCannotDoIsOneLine) {
  for (const char* words :
       {"generate --model {i}/tiny --token_ids 1 --device gpu",
        "generate --model {i}/tiny --token_ids 1 --device cuda:x",
        "generate --model {i}/tiny --token_ids 1 --device cuda:1",
        "generate --model {i}/tiny --token_ids 1 --device cuda --weights q8_0",
        "generate --model {i}/tiny --token_ids 1 --device cuda --cache_dtype int8"}) {
    const Outcome got = run(words_of(words, "", valid_files(), folder_.path()));
    EXPECT_EQ(got.exit, 2) << words << "\n" << got.err;
    EXPECT_EQ(std::ranges::count(got.err, '\n'), 1) << got.err;
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
