// Laws of the training pass: gradients are derivatives, and bits depend on nothing but the batch.
#include <cmath>

#include "model/random_model.h"

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
  int threads = 1;
  bool reference = false;
};

// Runs the batches one after another into one gradient.
Result train(const Mode& s, const ParamArena& weights, std::vector<const OwnedBatch*> batches) {
  ThreadPool pool(s.threads);
  ops::Exec exec{pool, s.reference};
  Trainee trainee(s.config, weights, s.compute, s.recompute, exec);
  Result r{{}, ParamArena(s.config, DType::f32)};
  for (size_t i = 0; i < batches.size(); ++i) {
    r.losses.assign(static_cast<size_t>(batches[i]->tokens()), -1.0f);
    trainee.forward_backward(batches[i]->batch(), 0.125f, r.losses, r.grads, i == 0);
  }
  return r;
}

void expect_same(const Result& a, const Result& b) {
  EXPECT_EQ(a.losses, b.losses);
  for (int64_t i = 0; i < std::ssize(a.grads.params()); ++i)
    EXPECT_TRUE(same_bits(a.grads[i], b.grads[i])) << a.grads.params()[static_cast<size_t>(i)].name;
}

class TiedOrNot : public ::testing::TestWithParam<bool> {
 protected:
  ThreadPool pool_{2};
  LlamaConfig config_ = odd_config(GetParam());
  ParamArena weights_ = random_weights(config_, DType::f32, pool_);
};
INSTANTIATE_TEST_SUITE_P(Heads, TiedOrNot, ::testing::Values(false, true),
                         [](const auto& param) { return param.param ? "Tied" : "Untied"; });

double summed_loss(Trainee& trainee, const OwnedBatch& batch) {
  std::vector<float> losses(static_cast<size_t>(batch.tokens()));
  trainee.forward(batch.batch(), losses);
  double sum = 0;
  for (const float loss : losses) sum += static_cast<double>(loss);
  return sum;
}

// One parameter at a time, along its gradient mixed with noise: a gradient that is wrong by a factor, a sign, a missing term
// or another parameter's place shows. The plain ops sum in double but store f32, so a loss of about 100 carries an error near
// 1e-5; over a step of 2 * 1e-2 that is 1e-3 absolute, and the cubic term of the loss is of the same order.
TEST_P(TiedOrNot, GradientIsTheDerivativeOfTheLoss) {
  const OwnedBatch batch = random_batch({11, 7, 1}, config_.vocab_size, 3);
  ops::Exec exec{pool_, true};
  Trainee trainee(config_, weights_, DType::f32, Recompute::none, exec);
  ParamArena grads(config_, DType::f32);
  std::vector<float> losses(static_cast<size_t>(batch.tokens()));
  trainee.forward_backward(batch.batch(), 1.0f, losses, grads, true);
  for (int64_t i = 0; i < std::ssize(grads.params()); ++i) {
    const int64_t n = grads[i].elements();
    auto* w = static_cast<float*>(weights_[i].data);
    const auto* g = static_cast<const float*>(grads[i].data);
    double norm = 0;
    for (int64_t e = 0; e < n; ++e) norm += static_cast<double>(g[e]) * static_cast<double>(g[e]);
    norm = std::sqrt(norm);
    ASSERT_GT(norm, 0.05);
    const std::vector<float> before(w, w + n);
    const double step = 1e-2;
    double expected = 0, losses_at[2];
    for (const int side : {0, 1}) {
      expected = 0;
      for (int64_t e = 0; e < n; ++e) {
        const double noise = random_normal(4, static_cast<uint64_t>(i), static_cast<uint64_t>(e)) /
                             std::sqrt(static_cast<double>(n));
        const double direction = static_cast<double>(g[e]) / norm + noise;
        w[e] = static_cast<float>(static_cast<double>(before[static_cast<size_t>(e)]) +
                                  (side ? -step : step) * direction);
        expected += direction * static_cast<double>(g[e]);
      }
      losses_at[side] = summed_loss(trainee, batch);
    }
    std::copy(before.begin(), before.end(), w);
    const double measured = (losses_at[0] - losses_at[1]) / (2 * step);
    EXPECT_NEAR(measured, expected, 2e-3 + 2e-3 * std::abs(expected))
        << grads.params()[static_cast<size_t>(i)].name;
  }
}

TEST_P(TiedOrNot, FastOpsAgreeWithThePlainOnes) {
  const OwnedBatch batch = random_batch({40, 9, 80}, config_.vocab_size, 5);
  const Result fast = train({.config = config_, .threads = 2}, weights_, {&batch});
  const Result plain = train({.config = config_, .reference = true}, weights_, {&batch});
  for (size_t t = 0; t < fast.losses.size(); ++t)
    EXPECT_NEAR(fast.losses[t], plain.losses[t],
                1e-4f);  // f32 sums of 20 to 30 terms, logits near 10
  for (int64_t i = 0; i < std::ssize(fast.grads.params()); ++i) {
    const auto* a = static_cast<const float*>(fast.grads[i].data);
    const auto* b = static_cast<const float*>(plain.grads[i].data);
    float largest = 0, worst = 0;
    for (int64_t e = 0; e < fast.grads[i].elements(); ++e) {
      largest = std::max(largest, std::abs(b[e]));
      worst = std::max(worst, std::abs(a[e] - b[e]));
    }
    EXPECT_LE(worst, 5e-5f * largest) << fast.grads.params()[static_cast<size_t>(i)].name;
  }
}

TEST_P(TiedOrNot, ThreadsDoNotChangeBits) {
  const OwnedBatch batch = random_batch({130, 3, 60}, config_.vocab_size, 9);
  for (const DType compute : {DType::f32, DType::bf16}) {
    const Result one = train({.config = config_, .compute = compute}, weights_, {&batch, &batch});
    for (const int threads : {2, 3}) {
      expect_same(train({.config = config_, .compute = compute, .threads = threads}, weights_,
                        {&batch, &batch}),
                  one);
    }
  }
}

TEST_P(TiedOrNot, RecomputationGivesTheSameBits) {
  const OwnedBatch batch = random_batch({33, 64}, config_.vocab_size, 11);
  for (const DType compute : {DType::f32, DType::bf16}) {
    Mode mode{.config = config_, .compute = compute};
    const Result kept = train(mode, weights_, {&batch});
    using enum Recompute;
    for (const RecomputePolicy& policy :
         {RecomputePolicy(gate_up), RecomputePolicy(full), RecomputePolicy({full, gate_up}),
          RecomputePolicy({gate_up, Recompute::none})}) {
      mode.recompute = policy;
      expect_same(train(mode, weights_, {&batch}), kept);
    }
  }
}

TEST_P(TiedOrNot, MicroBatchesAddTheirCompleteGradients) {
  const OwnedBatch a = random_batch({30, 21}, config_.vocab_size, 13);
  const OwnedBatch b = random_batch({70}, config_.vocab_size, 17);
  const Mode mode{.config = config_};
  const Result of_a = train(mode, weights_, {&a}), of_b = train(mode, weights_, {&b});
  const Result both = train(mode, weights_, {&a, &b});
  const auto sa = of_a.grads.all().row<float>(0), sb = of_b.grads.all().row<float>(0);
  const auto sum = both.grads.all().row<float>(0);
  for (size_t e = 0; e < sum.size(); ++e) ASSERT_EQ(sum[e], sa[e] + sb[e]) << e;
}

TEST_P(TiedOrNot, EarlierBatchesLeaveNoTrace) {
  const OwnedBatch big = random_batch({90, 50}, config_.vocab_size, 19);
  const OwnedBatch small = random_batch({13}, config_.vocab_size, 23);
  const Mode mode{.config = config_};
  const Result fresh = train(mode, weights_, {&small});
  ThreadPool pool(1);
  ops::Exec exec{pool};
  Trainee trainee(config_, weights_, DType::f32, Recompute::none, exec);
  Result r{std::vector<float>(140), ParamArena(config_, DType::f32)};
  trainee.forward_backward(big.batch(), 1.0f, r.losses, r.grads, true);
  trainee.forward(big.batch(), r.losses);
  r.losses.assign(13, 0.0f);
  trainee.forward_backward(small.batch(), 0.125f, r.losses, r.grads, true);
  expect_same(r, fresh);
}

TEST(Training, DocumentsInOneBatchDoNotSeeEachOther) {
  ThreadPool pool(1);
  ops::Exec exec{pool};
  const LlamaConfig config = odd_config(false);
  const ParamArena weights = random_weights(config, DType::f32, pool);
  Trainee trainee(config, weights, DType::f32, Recompute::none, exec);
  const OwnedBatch packed = random_batch({70, 5, 131}, config.vocab_size, 29);
  std::vector<float> together(206);
  trainee.forward(packed.batch(), together);
  std::vector<float> apart;
  for (size_t d = 0; d + 1 < packed.documents.size(); ++d) {
    const auto begin = static_cast<size_t>(packed.documents[d]);
    const auto count = static_cast<size_t>(packed.documents[d + 1]) - begin;
    OwnedBatch alone;
    alone.add_document(std::span(packed.ids).subspan(begin, count),
                       std::span(packed.targets).subspan(begin, count));
    std::vector<float> losses(count);
    trainee.forward(alone.batch(), losses);
    apart.insert(apart.end(), losses.begin(), losses.end());
  }
  EXPECT_EQ(together, apart);
}

TEST(Training, UntrainedTokensHaveNoLossAndNoGradient) {
  ThreadPool pool(1);
  const LlamaConfig config = odd_config(false);
  const ParamArena weights = random_weights(config, DType::f32, pool);
  OwnedBatch batch = random_batch({12}, config.vocab_size, 31);
  std::ranges::fill(batch.targets, -100);
  const Result r = train({.config = config}, weights, {&batch});
  for (const float loss : r.losses) EXPECT_EQ(loss, 0.0f);
  for (const float g : r.grads.all().row<float>(0)) ASSERT_EQ(g, 0.0f);
}

TEST(Training, RecomputationAndEvaluationKeepLess) {
  ThreadPool pool(1);
  ops::Exec exec{pool};
  LlamaConfig config = odd_config(false);
  config.num_hidden_layers = 12;
  const ParamArena weights = random_weights(config, DType::f32, pool);
  const OwnedBatch batch = random_batch({100}, config.vocab_size, 37);
  std::vector<float> losses(100);
  ParamArena grads(config, DType::f32);
  Trainee kept(config, weights, DType::f32, Recompute::none, exec);
  Trainee half(config, weights, DType::f32, Recompute::gate_up, exec);
  Trainee full(config, weights, DType::f32, Recompute::full, exec);
  Trainee eval(config, weights, DType::f32, Recompute::none, exec);
  kept.forward_backward(batch.batch(), 1.0f, losses, grads, true);
  half.forward_backward(batch.batch(), 1.0f, losses, grads, true);
  full.forward_backward(batch.batch(), 1.0f, losses, grads, true);
  eval.forward(batch.batch(), losses);
  // All layers but one give up their own gate and up.
  EXPECT_EQ(kept.activation_bytes() - half.activation_bytes(),
            static_cast<size_t>(11 * 100 * 2 * config.intermediate_size) * sizeof(float));
  EXPECT_LT(full.activation_bytes(), kept.activation_bytes() / 3);
  EXPECT_LT(eval.activation_bytes(), full.activation_bytes() / 2);
}

class BadBatch : public ::testing::Test {
 protected:
  void expect_refused(const std::string& part) {
    ops::Exec exec{pool_};
    Trainee trainee(config_, weights_, DType::f32, Recompute::none, exec);
    std::vector<float> losses(static_cast<size_t>(batch_.tokens()));
    try {
      trainee.forward(batch_.batch(), losses);
      ADD_FAILURE() << "accepted; expected: " << part;
    } catch (const UsageError& e) {
      EXPECT_THAT(e.what(), ::testing::HasSubstr(part));
    }
  }
  ThreadPool pool_{1};
  LlamaConfig config_ = odd_config(false);
  ParamArena weights_{config_, DType::f32};
  OwnedBatch batch_ = random_batch({5, 6}, 37, 41);
};

TEST_F(BadBatch, WithoutTokens) {
  batch_ = {};
  expect_refused("without tokens");
}
TEST_F(BadBatch, WithTooFewTargets) {
  batch_.targets.pop_back();
  expect_refused("10 targets");
}
TEST_F(BadBatch, WithDocumentsThatEndElsewhere) {
  batch_.documents.back() = 12;
  expect_refused("documents");
}
TEST_F(BadBatch, WithDocumentsOutOfOrder) {
  batch_.documents = {0, 9, 3, 11};
  expect_refused("documents");
}
TEST_F(BadBatch, BeyondTheContext) {
  batch_.positions[4] = 1500;
  expect_refused("position 1500");
}
TEST_F(BadBatch, WithAnIdOutsideTheVocabulary) {
  batch_.ids[3] = 37;
  expect_refused("37");
}
TEST_F(BadBatch, WithATargetOutsideTheVocabulary) {
  batch_.targets[3] = 37;
  expect_refused("37");
}

}  // namespace
}  // namespace cria::testing
