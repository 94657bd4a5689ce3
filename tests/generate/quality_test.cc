#include "generate/quality.h"

#include <cmath>
#include <vector>

#include "base/error.h"
#include "model/random_model.h"

namespace cria::testing {
namespace {

// By hand: softmax of (0, ln 2, ln 5) is (1, 2, 5) / 8.
const std::vector<float> kA = {0, std::log(2.0F), std::log(5.0F)};
const std::vector<float> kB = {1, 1, 1};

TEST(Quality, LossAndDivergenceAreTheFormulas) {
  EXPECT_NEAR(token_loss(kA, 1), -std::log(2.0 / 8), 1e-7);
  const double want =
      1.0 / 8 * std::log(3.0 / 8) + 2.0 / 8 * std::log(6.0 / 8) + 5.0 / 8 * std::log(15.0 / 8);
  EXPECT_NEAR(divergence(kA, kB), want, 1e-7);
  EXPECT_EQ(divergence(kA, kA), 0);
  EXPECT_GT(divergence(kB, kA), 0);
}

class QualityOfText : public ::testing::Test {
 protected:
  ThreadPool pool_{2};
  ops::Exec exec_{pool_};
  LlamaConfig config_ = odd_config(false);
  ParamArena weights_ = random_weights(config_, DType::f32, pool_);
  ParamArena rounded_ = random_weights(config_, DType::bf16, pool_);
  std::vector<int32_t> ids_ = random_ids(301, config_.vocab_size, 4);
  QualitySettings settings_{.context = 100, .cache = DType::f32, .reference_cache = DType::f32};
};

// The same windows as documents through the training code, which float64 PyTorch judges.
TEST_F(QualityOfText, TheLossIsThatOfTheTrainingForward) {
  Decoder decoder(config_, weights_, DType::f32, exec_);
  int64_t seen = 0;
  const Quality q =
      evaluate_text(decoder, nullptr, ids_, settings_, pool_, [&](int64_t n) { seen += n; });
  OwnedBatch batch;
  for (size_t begin = 0; begin < 300; begin += 100) {
    const std::span window = std::span(ids_).subspan(begin, 100);
    std::vector<int32_t> targets(window.begin() + 1, window.end());
    targets.push_back(-100);
    batch.add_document(window, targets);
  }
  Trainee trainee(config_, weights_, DType::f32, Recompute::none, exec_);
  std::vector<float> losses(300);
  trainee.forward(batch.batch(), losses);
  double sum = 0;
  for (const float loss : losses) sum += static_cast<double>(loss);
  EXPECT_EQ(q.tokens, 297);
  EXPECT_EQ(seen, 300);  // one token is left, which has no pair
  EXPECT_NEAR(q.loss, sum / 297, 1e-5);
}

TEST_F(QualityOfText, AModelDoesNotStrayFromItself) {
  Decoder a(config_, weights_, DType::f32, exec_), b(config_, weights_, DType::f32, exec_);
  const Quality q = evaluate_text(a, &b, ids_, settings_, pool_);
  EXPECT_EQ(q.loss, q.reference_loss);
  EXPECT_EQ(q.largest_divergence, 0);
  EXPECT_EQ(q.same_top, 1);
}

TEST_F(QualityOfText, RoundedWeightsStrayALittle) {
  Decoder rounded(config_, rounded_, DType::bf16, exec_),
      exact(config_, weights_, DType::f32, exec_);
  const Quality q = evaluate_text(rounded, &exact, ids_, settings_, pool_);
  EXPECT_GT(q.divergence, 0);
  EXPECT_LE(q.divergence, q.divergence_99);
  EXPECT_LE(q.divergence_99, q.largest_divergence);
  EXPECT_LT(q.divergence, 0.1);
  EXPECT_GT(q.same_top, 0.8);
}

TEST_F(QualityOfText, RefusesWindowsAndTextsThatAreTooShort) {
  Decoder decoder(config_, weights_, DType::f32, exec_);
  EXPECT_THROW(evaluate_text(decoder, nullptr, std::span(ids_).first(1), settings_, pool_),
               UsageError);
  settings_.context = 1;
  EXPECT_THROW(evaluate_text(decoder, nullptr, ids_, settings_, pool_), UsageError);
  settings_.context = config_.max_position_embeddings + 1;
  EXPECT_THROW(evaluate_text(decoder, nullptr, ids_, settings_, pool_), UsageError);
}

}  // namespace
}  // namespace cria::testing
