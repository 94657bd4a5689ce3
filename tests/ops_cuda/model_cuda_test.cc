// The whole model on the emulated GPU against the processor: every op meets the shapes, strides and types that the model has.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "formats/dequantise.h"
#include "formats/quantise.h"
#include "model/llama.h"
#include "model/packed_weights.h"
#include "model/random_model.h"
#include "ops/close.h"
#include "ops_cuda/tested_device.h"

namespace cria::testing {
namespace {

struct Result {
  std::vector<float> losses;
  ParamArena grads;
};

struct Mode {
  LlamaConfig config;
  DType compute = DType::f32;
  RecomputePolicy recompute;
};

Result train(const Mode& s, const ParamArena& weights,
             const std::vector<const OwnedBatch*>& batches, ops::Exec exec) {
  const ParamArena there = weights.copy_to(exec.device);
  Trainee trainee(s.config, there, s.compute, s.recompute, exec);
  ParamArena grads = ParamArena(s.config, DType::f32).copy_to(exec.device);
  std::vector<float> losses;
  for (size_t i = 0; i < batches.size(); ++i) {
    losses.assign(static_cast<size_t>(batches[i]->tokens()), -1.0f);
    trainee.forward_backward(batches[i]->batch(), 0.125f, losses, grads, i == 0);
  }
  return {losses, grads.copy_to(nullptr)};
}

ops::Exec here() { return {.pool = ops::pool()}; }

/// No gradient differs by more than `relative` of its parameter's largest.
void expect_close(const Result& a, const Result& b, double loss, double relative) {
  for (size_t t = 0; t < a.losses.size(); ++t) EXPECT_NEAR(a.losses[t], b.losses[t], loss) << t;
  for (int64_t i = 0; i < std::ssize(a.grads.params()); ++i)
    ops::expect_close(a.grads.params()[static_cast<size_t>(i)].name, a.grads[i], b.grads[i],
                      relative);
}
void expect_same(const Result& a, const Result& b) {
  EXPECT_EQ(a.losses, b.losses);
  for (int64_t i = 0; i < std::ssize(a.grads.params()); ++i)
    EXPECT_TRUE(ops::same_bits(a.grads[i], b.grads[i]))
        << a.grads.params()[static_cast<size_t>(i)].name;
}

class ModelOnDevice : public ::testing::TestWithParam<bool> {
 protected:
  LlamaConfig config_ = odd_config(GetParam());
  ParamArena weights_ = random_weights(config_, DType::f32, ops::pool());
  OwnedBatch batch_ = random_batch({40, 1, 33}, config_.vocab_size, 5);
  OwnedBatch second_ = random_batch({21}, config_.vocab_size, 9);
};
INSTANTIATE_TEST_SUITE_P(Heads, ModelOnDevice, ::testing::Values(false, true),
                         [](const auto& param) { return param.param ? "Tied" : "Untied"; });

// The tolerance of tests/model's FastOpsAgreeWithThePlainOnes: f32 sums of 20 to 30 terms, logits near 10. Closed: the host dies
// if it touches what it should leave to the device.
TEST_P(ModelOnDevice, TrainsAsTheProcessorInF32) {
  const Mode mode{.config = config_};
  const Result expected = train(mode, weights_, {&batch_, &second_}, here());
  ops::close_device(true);
  const Result got = train(mode, weights_, {&batch_, &second_}, ops::on_device());
  ops::close_device(false);
  expect_close(got, expected, 1e-4, 5e-5);
}

// Activations are rounded to 8 bits in some twenty places a layer, and rounding is decided apart here and there where sums in
// f32 end near a tie: each such place moves a loss by 2^-8 of a logit's part. The processor alone, f32 against bf16, differs by
// more, which is checked first, so that the bound says something.
TEST_P(ModelOnDevice, TrainsInBf16CloserToTheProcessorThanRoundingIs) {
  ParamArena rounded = random_weights(config_, DType::bf16, ops::pool());
  const Result exact = train({.config = config_}, rounded, {&batch_}, here());
  const Mode mode{.config = config_, .compute = DType::bf16};
  const Result cpu = train(mode, rounded, {&batch_}, here());
  const Result gpu = train(mode, rounded, {&batch_}, ops::on_device());
  const auto distance = [](const Result& a, const Result& b) {
    return ops::relative_distance(a.grads.all(), b.grads.all());
  };
  const double rounding = distance(cpu, exact), apart = distance(gpu, cpu),
               wrong = distance(gpu, exact);
  EXPECT_GT(rounding, 1e-3);
  EXPECT_LT(apart, rounding);
  EXPECT_LT(wrong, 1.5 * rounding);
}

TEST_P(ModelOnDevice, GivesTheSameBitsInEveryOrderOfThreadsAndWithRecomputation) {
  for (const DType compute : {DType::f32, DType::bf16}) {
    Mode mode{.config = config_, .compute = compute};
    ops::threads_descend(true);
    const Result descending = train(mode, weights_, {&batch_, &second_}, ops::on_device());
    ops::threads_descend(false);
    const Result ascending = train(mode, weights_, {&batch_, &second_}, ops::on_device());
    expect_same(descending, ascending);
    for (const Recompute recompute : {Recompute::gate_up, Recompute::full}) {
      mode.recompute = recompute;
      expect_same(train(mode, weights_, {&batch_, &second_}, ops::on_device()), ascending);
    }
  }
}

TEST_P(ModelOnDevice, GeneratesTheProcessorsLogits) {
  const std::vector<int32_t> prompt =
      random_ids(70, config_.vocab_size, 3);  // beyond a cache's first capacity
  const auto run = [&](ops::Exec exec, DType cache = DType::f32) {
    const ParamArena there = weights_.copy_to(exec.device);
    Decoder decoder(config_, there, DType::f32, exec);
    KvCache first(config_, cache, exec.device), second(config_, cache, exec.device);
    Tensor all(DType::f32, 4, config_.vocab_size, exec.device);
    decoder.prefill(std::span(prompt).first(60), first, all.view().row_range(0, 1));
    decoder.prefill(std::span(prompt).first(5), second, all.view().row_range(1, 1));
    KvCache* const caches[] = {&first, &second};
    for (size_t t = 60; t < 70; ++t) {
      const int32_t ids[] = {prompt[t], prompt[t - 50]};
      decoder.step(ids, caches, all.view().row_range(2, 2));
    }
    return all.copy_to(nullptr);
  };
  // Logits near 10 from f32 sums of 20 to 30 terms.
  ops::expect_close("logits", run(ops::on_device()), run(here()), 2e-5);
  // In caches of 8 bits a number that lies at half a step of its group may be rounded the other way, by 1 / 127 of the largest.
  EXPECT_LT(ops::relative_distance(run(ops::on_device(), DType::i8), run(here(), DType::i8)), 1e-3);
}

/// Blocks of a model's matrices, here and on the device, and what they stand for.
class PackedModelOnDevice : public ::testing::TestWithParam<DType> {
 protected:
  PackedModelOnDevice() {
    for (int64_t i = 0; i < std::ssize(exact_.params()); ++i) {
      const Param& p = exact_.params()[static_cast<size_t>(i)];
      const DType type = types_[static_cast<size_t>(i)];
      const std::span<const float> numbers(static_cast<const float*>(exact_[i].data),
                                           static_cast<size_t>(p.elements()));
      std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(type, p.elements())));
      if (p.is_norm()) {
        std::memcpy(bytes.data(), numbers.data(), bytes.size());
        std::memcpy(plain_[i].data, numbers.data(), bytes.size());
      } else {
        quantise(type, numbers, bytes);
        dequantise(type, bytes, {static_cast<float*>(plain_[i].data), numbers.size()});
      }
      here_.put_rows(i, 0, bytes);
      there_.put_rows(i, 0, bytes);
    }
  }
  std::vector<DType> types() const {
    std::vector<DType> all;
    for (const Param& p : exact_.params()) all.push_back(p.is_norm() ? DType::f32 : GetParam());
    return all;
  }
  /// Logits after so many tokens of a prompt and after each of some more.
  template <class... Weights>
  Tensor logits(size_t prompt, int64_t steps, ops::Exec exec, const Weights&... weights) const {
    Decoder decoder(weights..., DType::f32, exec);
    KvCache cache(config_, DType::f32, exec.device);
    KvCache* const caches[] = {&cache};
    Tensor all(DType::f32, 1 + steps, config_.vocab_size, exec.device);
    decoder.prefill(std::span(ids_).first(prompt), cache, all.view().row_range(0, 1));
    for (int64_t i = 0; i < steps; ++i)
      decoder.step(std::span(ids_).subspan(prompt + static_cast<size_t>(i), 1), caches,
                   all.view().row_range(1 + i, 1));
    return all.copy_to(nullptr);
  }
  LlamaConfig config_ = block_config(false);
  ParamArena exact_ = random_weights(config_, DType::f32, ops::pool());
  std::vector<DType> types_ = types();
  PackedWeights here_{config_, types_};
  PackedWeights there_{config_, whole_model(config_), types_, &ops::device()};
  ParamArena plain_{config_, DType::f32};
  std::vector<int32_t> ids_ = random_ids(70, config_.vocab_size, 3);
};
INSTANTIATE_TEST_SUITE_P(Types, PackedModelOnDevice,
                         ::testing::Values(DType::q8_0, DType::q4_0, DType::int4_g32),
                         [](const auto& p) { return std::string(name_of(p.param)); });

// A number that lies at half a step of its group may be rounded the other way, by 1 / 127 of the largest; that happens to few.
// The rounding itself, which is there in all of them, moves logits by more.
TEST_P(PackedModelOnDevice, AnswersAShortPromptAsTheProcessor) {
  const Tensor there = logits(20, 3, ops::on_device(), there_),
               expected = logits(20, 3, here(), here_);
  EXPECT_LT(ops::relative_distance(there, expected), 1e-3);
  EXPECT_GT(ops::relative_distance(expected, logits(20, 3, here(), config_, plain_)), 3e-3);
}

// A long one is multiplied with what the blocks stand for; only the head's single row is rounded, by 0.6 % of what it has.
TEST_P(PackedModelOnDevice, ReadsALongPromptAsPlainWeightsDo) {
  const Tensor there = logits(60, 0, ops::on_device(), there_),
               plain = logits(60, 0, here(), config_, plain_);
  const double apart = ops::relative_distance(there, plain);
  EXPECT_LT(apart, 0.01);
  EXPECT_GT(ops::relative_distance(logits(60, 0, here(), here_), plain), apart);
}

}  // namespace
}  // namespace cria::testing
