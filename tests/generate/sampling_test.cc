// What changes logits, against PyTorch's processors in float64.
#include "generate/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "formats/safetensors.h"
#include "ops/next_token_ref.h"

namespace cria {
namespace {

using namespace ops;  // what changes logits

template <class T>
std::vector<T> tensor(const TensorReader& file, const std::string& name) {
  const size_t i = file.find(name).value();
  std::vector<T> values(static_cast<size_t>(file.tensors()[i].elements()));
  file.read(i, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

void expect_processed(const std::string& name, double penalty, double temperature, int64_t k,
                      double p) {
  const std::string path = CRIA_FIXTURES_DIR "/models/tiny-llama3/generate.safetensors";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto file = open_safetensors(path);
  const auto logits = tensor<double>(*file, "proc.logits");
  const auto want = tensor<double>(*file, "proc.out." + name);
  const auto seen = tensor<int32_t>(*file, "proc.prev_ids");
  const size_t rows = 4, vocab = logits.size() / rows, ids = seen.size() / rows;
  for (size_t r = 0; r < rows; ++r) {
    std::vector<float> row(logits.begin() + static_cast<long>(r * vocab),
                           logits.begin() + static_cast<long>((r + 1) * vocab));
    if (penalty != 1) apply_repetition_penalty(row, std::span(seen).subspan(r * ids, ids), penalty);
    if (temperature != 1) apply_temperature(row, temperature);
    if (k > 0) apply_top_k(row, k);
    if (p < 1) apply_top_p(row, p);
    for (size_t i = 0; i < vocab; ++i) {
      const double w = want[r * vocab + i];
      if (std::isinf(w)) {
        EXPECT_TRUE(std::isinf(row[i])) << name << " row " << r << " id " << i;
      } else {
        EXPECT_NEAR(row[i], w, 1e-5 * std::max(1.0, std::fabs(w))) << name << " id " << i;
      }
    }
  }
}

TEST(Sampling, temperatureIsPyTorchs) { expect_processed("temperature0.7", 1, 0.7, 0, 1); }
TEST(Sampling, topKIsPyTorchs) {
  expect_processed("topk1", 1, 1, 1, 1);
  expect_processed("topk10", 1, 1, 10, 1);
}
TEST(Sampling, topPIsPyTorchs) {
  expect_processed("topp0.1", 1, 1, 0, 0.1);
  expect_processed("topp0.9", 1, 1, 0, 0.9);
}
TEST(Sampling, repetitionPenaltyIsPyTorchs) {
  expect_processed("rep0.8", 0.8, 1, 0, 1);
  expect_processed("rep1.2", 1.2, 1, 0, 1);
}
TEST(Sampling, allTogetherInTheRecipesOrderArePyTorchs) {
  expect_processed("rep1.1_temp0.6_topk50_topp0.8", 1.1, 0.6, 50, 0.8);
}

// numpy.random.RandomState(7).random_sample(3)
TEST(Sampling, drawsAreNumpys) {
  SamplingSettings settings;
  settings.do_sample = true;
  settings.seed = 7;
  Sampler sampler(settings, {}, {});
  for (const double want : {0.07630828937395717, 0.7799187922401146, 0.4384092314408935})
    EXPECT_EQ(sampler.next(0).uniform, want);
}

TEST(Sampling, seenIdsArePenalisedOnceAndEndsWait) {
  SamplingSettings settings;
  settings.repetition_penalty = 1.2;
  settings.min_new_tokens = 2;
  const std::vector<int32_t> prompt = {9, 2, 9}, eos = {1};
  Sampler sampler(settings, eos, prompt);
  sampler.see(5);
  sampler.see(2);
  const TokenRule rule = sampler.next(1);
  EXPECT_EQ(std::vector<int32_t>(rule.penalised.begin(), rule.penalised.end()),
            (std::vector<int32_t>{2, 5, 9}));
  EXPECT_EQ(rule.forbidden.size(), 1u);
  EXPECT_TRUE(sampler.next(2).forbidden.empty());
}

}  // namespace
}  // namespace cria
