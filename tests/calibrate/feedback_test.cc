#include "calibrate/feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "formats/dequantise.h"
#include "formats/quantise.h"
#include "ops/linear.h"

namespace cria {
namespace {

float normal(uint64_t seed, int64_t i) {
  return static_cast<float>(random_normal(seed, 0, static_cast<uint64_t>(i)));
}

Tensor random(int64_t rows, int64_t cols, uint64_t seed) {
  Tensor t(DType::f32, rows, cols);
  for (int64_t i = 0; i < rows * cols; ++i)
    t.span<float>()[static_cast<size_t>(i)] = normal(seed, i);
  return t;
}

/// Inputs that have much in common, as a model's have: a few directions and a little noise.
Tensor inputs(int64_t tokens, int64_t cols, uint64_t seed, const ops::Exec& exec) {
  const int64_t directions = std::max<int64_t>(1, cols / 8);
  const Tensor a = random(tokens, directions, seed), b = random(cols, directions, seed + 1);
  Tensor x = random(tokens, cols, seed + 2);
  for (float& v : x.span<float>()) v *= 0.2F;
  ops::linear(a, b, x, exec, ops::Into::add);
  return x;
}

Tensor products_of(const Tensor& x, const ops::Exec& exec) {
  Tensor products(DType::f32, x.cols(), x.cols());
  ops::linear_weight_grad(x, x, products, exec);
  return products;
}

class FeedbackSizes : public testing::TestWithParam<int64_t> {};

// V from the factors, and V V^T beside the damped products in double.
TEST_P(FeedbackSizes, FactorsAreThoseOfTheProducts) {
  const int64_t n = GetParam();
  ThreadPool pool(2);
  const ops::Exec exec{pool};
  const Tensor x = inputs(2 * n + 3, n, 1, exec);
  const Tensor products = products_of(x, exec);
  Tensor damaged = products.clone();
  const Feedback f = feedback_of(damaged, exec);
  double mean = 0;
  for (int64_t i = 0; i < n; ++i)
    mean += static_cast<double>(products.view().row<float>(i)[static_cast<size_t>(i)]) /
            static_cast<double>(n);
  const auto v = [&](int64_t i, int64_t c) {
    const double diagonal = std::sqrt(static_cast<double>(f.importance[static_cast<size_t>(c)]));
    if (i > c) return 0.0;
    if (i == c) return diagonal;
    return diagonal * static_cast<double>(f.factors.view().row<float>(c)[static_cast<size_t>(i)]);
  };
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t c = std::max(i, j); c < n; ++c) sum += v(i, c) * v(j, c);
      const double want =
          static_cast<double>(products.view().row<float>(i)[static_cast<size_t>(j)]) +
          (i == j ? 0.01 * mean : 0);
      // f32 sums of up to 200 products, beside numbers as large as the mean of the diagonal.
      ASSERT_NEAR(sum, want, 1e-4 * mean) << i << ", " << j;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Odd, FeedbackSizes, testing::Values(1, 2, 7, 63, 64, 65, 200));

TEST(Feedback, InputsThatAreZeroFeedNothingBack) {
  ThreadPool pool(1);
  Tensor products(DType::f32, 3, 3);
  const Feedback f = feedback_of(products, {pool});
  for (const float v : f.factors.span<float>()) EXPECT_EQ(v, 0.0F);
}

TEST(Feedback, RefusesWhatIsNotFinite) {
  ThreadPool pool(1);
  Tensor products(DType::f32, 3, 3);
  products.span<float>()[4] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(feedback_of(products, {pool}), Error);
}

class RoundingWithFeedback : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, RoundingWithFeedback,
                         testing::Values(DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,
                                         DType::q8_0, DType::q4_k, DType::q5_k, DType::q6_k,
                                         DType::int4_g32, DType::int4_g64, DType::int4_g128,
                                         DType::int8_g32, DType::int8_g64, DType::int8_g128),
                         [](const auto& p) { return std::string(name_of(p.param)); });

double error_of_outputs(const Tensor& x, const Tensor& w, const Tensor& rounded,
                        const ops::Exec& exec) {
  Tensor difference(DType::f32, w.rows(), w.cols()), y(DType::f32, x.rows(), w.rows());
  for (size_t i = 0; i < w.span<float>().size(); ++i)
    difference.span<float>()[i] = w.span<float>()[i] - rounded.span<float>()[i];
  ops::linear(x, difference, y, exec);
  double sum = 0;
  for (const float v : y.span<float>()) sum += static_cast<double>(v) * static_cast<double>(v);
  return sum;
}

TEST_P(RoundingWithFeedback, OutputsChangeLessThanByPlainRounding) {
  const DType type = GetParam();
  ThreadPool pool(2);
  const ops::Exec exec{pool};
  const Tensor x = inputs(700, 512, 3, exec), w = random(40, 512, 7);
  Tensor products = products_of(x, exec);
  const Feedback feedback = feedback_of(products, exec);
  Tensor rounded = w.clone(), plain(DType::f32, 40, 512);
  std::vector<std::byte> blocks(static_cast<size_t>(bytes_of(type, 40 * 512)));
  round_with_feedback(type, rounded, feedback, blocks, exec);
  // What is left in w is what the blocks stand for.
  Tensor opened(DType::f32, 40, 512);
  dequantise(type, blocks, opened.span<float>());
  for (size_t i = 0; i < opened.span<float>().size(); ++i)
    ASSERT_EQ(opened.span<float>()[i], rounded.span<float>()[i]) << i;
  std::vector<std::byte> plainly(blocks.size());
  quantise(type, w.span<float>(), plainly);
  dequantise(type, plainly, plain.span<float>());
  const double with = error_of_outputs(x, w, rounded, exec),
               without = error_of_outputs(x, w, plain, exec);
  // An eighth of the directions carries most of these inputs: their errors can be made good in the rest.
  EXPECT_LT(with, 0.5 * without);
}

TEST_P(RoundingWithFeedback, ThreadsDoNotChangeABit) {
  const DType type = GetParam();
  ThreadPool one(1), three(3);
  const Tensor x = inputs(300, 256, 3, {one}), w = random(37, 256, 7);
  std::vector<std::vector<std::byte>> results;
  for (ThreadPool* pool : {&one, &three}) {
    Tensor products = products_of(x, {*pool}), rounded = w.clone();
    results.emplace_back(static_cast<size_t>(bytes_of(type, 37 * 256)));
    round_with_feedback(type, rounded, feedback_of(products, {*pool}), results.back(), {*pool});
  }
  EXPECT_EQ(results[0], results[1]);
}

// Without anything in common between inputs there is nothing to make good: every number is the nearest of its line.
TEST(RoundingWithFeedback, UnrelatedInputsGetTheNearestNumbers) {
  ThreadPool pool(1);
  const ops::Exec exec{pool};
  const Tensor w = random(5, 64, 7);
  Tensor products(DType::f32, 64, 64), rounded = w.clone();
  for (int64_t i = 0; i < 64; ++i) products.view().row<float>(i)[static_cast<size_t>(i)] = 2;
  std::vector<std::byte> blocks(static_cast<size_t>(bytes_of(DType::q4_1, 5 * 64))),
      plain(blocks.size());
  round_with_feedback(DType::q4_1, rounded, feedback_of(products, exec), blocks, exec);
  const std::vector<float> alike(64, 1.0F);
  for (int64_t r = 0; r < 5; ++r)
    quantise(DType::q4_1, w.view().row<float>(r),
             std::span(plain).subspan(static_cast<size_t>(r * bytes_of(DType::q4_1, 64)),
                                      static_cast<size_t>(bytes_of(DType::q4_1, 64))),
             alike);
  EXPECT_EQ(blocks, plain);
}

}  // namespace
}  // namespace cria
