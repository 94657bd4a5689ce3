// Generation over caches: tokens of float64 transformers, and laws about what a row may depend on.
#include <algorithm>
#include <cmath>

#include "model/random_model.h"

namespace cria::testing {
namespace {

int32_t argmax(ConstView logits, int64_t row) {
  const auto values = logits.row<float>(row);
  return static_cast<int32_t>(std::ranges::max_element(values) - values.begin());
}

using Ids = std::vector<int32_t>;

// Greedy continuations of several prompts, all in one batch.
std::vector<Ids> greedy(Decoder& decoder, const std::vector<Ids>& prompts, size_t count) {
  std::vector<KvCache> caches;
  std::vector<KvCache*> pointers;
  caches.reserve(prompts.size());
  Tensor logits(DType::f32, std::ssize(prompts), decoder.config().vocab_size);
  for (size_t i = 0; i < prompts.size(); ++i) {
    caches.emplace_back(decoder.config(), DType::f32);
    pointers.push_back(&caches.back());
    decoder.prefill(prompts[i], caches.back(), logits.view().row_range(static_cast<int64_t>(i), 1));
  }
  std::vector<Ids> out(prompts.size());
  Ids next(prompts.size());
  for (size_t n = 0; n < count; ++n) {
    for (size_t i = 0; i < prompts.size(); ++i) {
      next[i] = argmax(logits, static_cast<int64_t>(i));
      out[i].push_back(next[i]);
    }
    if (n + 1 < count) decoder.step(next, pointers, logits);
  }
  return out;
}

class GoldenGeneration : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenGeneration, GreedyTokensAreThoseOfTransformers) {
  CRIA_NEEDS_FIXTURES();
  const FixtureModel model = FixtureModel::load(GetParam(), "hf-fp32");
  ThreadPool pool(2);
  ops::Exec exec{pool};
  Decoder decoder(model.config, model.weights, DType::f32, exec);
  int compared = 0;
  const auto golden = read_json(fixture_path(GetParam() + "/generate.json"));
  for (const auto& c : golden["cases"]) {
    const auto kind = c["kind"].get<std::string>();
    if (kind != "greedy" && kind != "greedy_batch") continue;
    const auto want = c["output_ids"].get<std::vector<Ids>>();
    EXPECT_EQ(greedy(decoder, c["prompt_ids"].get<std::vector<Ids>>(), want[0].size()), want)
        << c["name"];
    ++compared;
  }
  EXPECT_GE(compared, 9);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GoldenGeneration,
                         ::testing::Values("tiny-llama3", "small-llama3"),
                         [](const auto& p) { return p.param.substr(0, p.param.find('-')); });

struct Types {
  DType compute, cache;
};

class Decoding : public ::testing::TestWithParam<Types> {
 protected:
  Tensor run_prompt(Decoder& decoder, KvCache& cache, std::span<const int32_t> ids) {
    Tensor logits(DType::f32, 1, config_.vocab_size);
    decoder.prefill(ids, cache, logits);
    return logits;
  }
  ThreadPool pool_{2};
  ops::Exec exec_{pool_};
  LlamaConfig config_ = odd_config(true);
  ParamArena weights_ = random_weights(config_, GetParam().compute, pool_);
  Decoder decoder_{config_, weights_, GetParam().compute, exec_};
  Ids prompt_ = random_ids(1100, config_.vocab_size, 3);  // longer than two pieces of a prefill
};
INSTANTIATE_TEST_SUITE_P(
    Types, Decoding,
    ::testing::Values(Types{DType::f32, DType::f32}, Types{DType::bf16, DType::bf16},
                      Types{DType::f32, DType::i8}, Types{DType::bf16, DType::i8}),
    [](const auto& p) {
      return fmt::format("{}Cache{}", name_of(p.param.compute), name_of(p.param.cache));
    });

// f32: sums of up to 1100 terms in another order. bf16: a rounding of 2^-9 at a dozen places a layer, logits near 10. Caches of
// 8 bits round only two of these places, to 2^-8 of a group's largest number.
float tolerance_of(const Types& types) {
  return types.compute == DType::f32 && types.cache == DType::f32 ? 2e-4f : 0.3f;
}

TEST_P(Decoding, PrefillAndStepsGiveTheLogitsOfTheFullForward) {
  const Ids ids(prompt_.begin(), prompt_.begin() + 100);
  Trainee trainee(config_, weights_, GetParam().compute, Recompute::none, exec_);
  OwnedBatch batch;
  batch.add_document(ids, ids);
  Tensor full(DType::f32, 100, config_.vocab_size), logits(DType::f32, 1, config_.vocab_size);
  trainee.logits(batch.batch(), full);
  KvCache cache(config_, GetParam().cache);
  KvCache* const caches[] = {&cache};
  decoder_.prefill(std::span(ids).first(37), cache, logits);
  for (size_t t = 37; t <= 100; ++t) {
    const auto want = full.view().row<float>(static_cast<int64_t>(t) - 1);
    const auto have = logits.view().row<float>(0);
    for (size_t v = 0; v < want.size(); ++v)
      ASSERT_NEAR(have[v], want[v], tolerance_of(GetParam())) << t;
    if (t < 100) decoder_.step(std::span(ids).subspan(t, 1), caches, logits);
  }
  EXPECT_EQ(cache.length(), 100);
}

TEST_P(Decoding, APromptInPiecesGivesTheSameBitsAsWhole) {
  KvCache whole(config_, GetParam().cache), pieces(config_, GetParam().cache);
  const Tensor want = run_prompt(decoder_, whole, prompt_);
  const std::span ids(prompt_);
  decoder_.prefill(ids.first(1), pieces, View());
  decoder_.prefill(ids.subspan(1, 700), pieces, View());
  const Tensor have = run_prompt(decoder_, pieces, ids.subspan(701));
  EXPECT_TRUE(same_bits(have, want));
}

TEST_P(Decoding, ARowHasTheSameBitsAloneAndInABatch) {
  constexpr size_t sequences = 5;
  std::vector<KvCache> caches;
  std::vector<KvCache*> all;
  caches.reserve(sequences);
  for (size_t i = 0; i < sequences; ++i) {
    caches.emplace_back(config_, GetParam().cache);
    all.push_back(&caches.back());
    decoder_.prefill(std::span(prompt_).subspan(i, 1 + 31 * i), caches.back(), View());
  }
  const Ids next = random_ids(sequences, config_.vocab_size, 5);
  Tensor together(DType::f32, sequences, config_.vocab_size),
      alone(DType::f32, 1, config_.vocab_size);
  decoder_.step(next, all, together);
  for (size_t i = 0; i < sequences; ++i) {
    caches[i].truncate(caches[i].length() - 1);
    decoder_.step(std::span(next).subspan(i, 1), std::span(all).subspan(i, 1), alone);
    EXPECT_TRUE(same_bits(alone, together.view().row_range(static_cast<int64_t>(i), 1))) << i;
  }
}

TEST_P(Decoding, ThreadsDoNotChangeBits) {
  std::vector<Tensor> results;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    ops::Exec exec{pool};
    Decoder decoder(config_, weights_, GetParam().compute, exec);
    KvCache cache(config_, GetParam().cache);
    KvCache* const caches[] = {&cache};
    Tensor logits = run_prompt(decoder, cache, prompt_);
    const int32_t next = argmax(logits, 0);
    decoder.step({&next, 1}, caches, logits);
    results.push_back(std::move(logits));
  }
  EXPECT_TRUE(same_bits(results[1], results[0]));
  EXPECT_TRUE(same_bits(results[2], results[0]));
}

TEST_P(Decoding, ATruncatedCacheForgets) {
  KvCache cache(config_, GetParam().cache);
  const Tensor want = run_prompt(decoder_, cache, std::span(prompt_).first(50));
  cache.truncate(20);
  decoder_.prefill(std::span(prompt_).subspan(500, 90), cache, View());
  cache.truncate(20);
  const Tensor have = run_prompt(decoder_, cache, std::span(prompt_).subspan(20, 30));
  EXPECT_TRUE(same_bits(have, want));
}

TEST_P(Decoding, TheContextIsTheEnd) {
  KvCache cache(config_, GetParam().cache);
  KvCache* const caches[] = {&cache};
  decoder_.prefill(prompt_, cache, View());
  EXPECT_THROW(decoder_.prefill(std::span(prompt_).first(401), cache, View()), UsageError);
  EXPECT_EQ(cache.length(), 1100);
  decoder_.prefill(std::span(prompt_).first(400), cache, View());
  EXPECT_EQ(cache.capacity(), 1500);
  Tensor logits(DType::f32, 1, config_.vocab_size);
  EXPECT_THROW(decoder_.step(std::span(prompt_).first(1), caches, logits), UsageError);
}

TEST_P(Decoding, RefusesEmptyPromptsAndForeignIds) {
  KvCache cache(config_, GetParam().cache);
  EXPECT_THROW(decoder_.prefill({}, cache, View()), UsageError);
  const Ids foreign = {1, 37};
  EXPECT_THROW(decoder_.prefill(foreign, cache, View()), UsageError);
  EXPECT_EQ(cache.length(), 0);
}

}  // namespace
}  // namespace cria::testing
