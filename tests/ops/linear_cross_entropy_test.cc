#include "ops/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ops/close.h"
#include "ops/random_matrix.h"

namespace cria::ops {
namespace {

struct Case {
  Tensor x, w;
  std::vector<int32_t> targets;
  /// About every third token is untrained.
  Case(DType x_type, DType w_type, int64_t tokens, int64_t hidden, int64_t vocab)
      : x(random_matrix(x_type, tokens, hidden, 1)), w(random_matrix(w_type, vocab, hidden, 2)) {
    for (int64_t t = 0; t < tokens; ++t) {
      targets.push_back(t % 3 == 1 ? -100 : static_cast<int32_t>(t * 31 % vocab));
    }
  }
};

struct Result {
  std::vector<float> loss;
  Tensor dx, dw;
};

Result run(const Case& c, const Exec& exec, float scale = 1) {
  Result r{std::vector<float>(c.targets.size(), -1), Tensor(c.x.dtype(), c.x.rows(), c.x.cols()),
           Tensor(DType::f32, c.w.rows(), c.w.cols())};
  fill_random(r.dx, 3);  // must be written over
  fill_random(r.dw, 4);
  linear_cross_entropy(c.x, c.w, c.targets, r.loss, {r.dx, r.dw, scale}, exec);
  return r;
}

struct Sizes {
  int64_t tokens, hidden, vocab;
};
class HeadShapes : public testing::TestWithParam<std::tuple<Sizes, DType, DType>> {};

TEST_P(HeadShapes, MatchReference) {
  const auto& [sizes, x_type, w_type] = GetParam();
  ThreadPool pool(2);
  const Case c(x_type, w_type, sizes.tokens, sizes.hidden, sizes.vocab);
  const Result fast = run(c, {pool}, 0.25f), ref = run(c, {pool, true}, 0.25f);
  // f32: logits of 70 products up to 1, summed in f32: 70 * 2^-24. 16 bits: the two sums may round
  // a logit (below 16) to neighbours, 2^-7 of 8 apart in bf16 and 2^-10 in f16; an exponential's
  // relative error is the logit's.
  const double logit = x_type == DType::f32 ? 5e-6 : x_type == DType::f16 ? 0x1p-7 : 0x1p-4;
  for (size_t t = 0; t < c.targets.size(); ++t) {
    EXPECT_NEAR(fast.loss[t], ref.loss[t], logit) << t;
    if (c.targets[t] < 0) {
      EXPECT_EQ(fast.loss[t], 0);
    }
  }
  // Neighbour roundings are rare, so gradients see the storage's own rounding in the main.
  const double grad = x_type == DType::f32 ? 2e-5 : x_type == DType::f16 ? 0x1p-9 : 0x1p-6;
  expect_close("dx", fast.dx, ref.dx, grad);
  expect_close("dw", fast.dw, ref.dw, grad);
}
INSTANTIATE_TEST_SUITE_P(Odd, HeadShapes,
                         testing::Combine(testing::Values(Sizes{1, 4, 3}, Sizes{7, 17, 5},
                                                          Sizes{66, 70, 129}),
                                          testing::Values(DType::f32, DType::f16, DType::bf16),
                                          testing::Values(DType::f32, DType::bf16)));

/// More trained tokens than a chunk holds.
Case several_chunks(DType dtype) { return {dtype, dtype, 2 * head_chunk_tokens(11), 6, 11}; }

TEST(LinearCrossEntropy, ChunksAddUp) {
  ThreadPool pool(2);
  const Case c = several_chunks(DType::f32);
  const Result fast = run(c, {pool}), ref = run(c, {pool, true});
  expect_close("dx", fast.dx, ref.dx, 1e-5);
  expect_close("dw", fast.dw, ref.dw, 1e-5);
}

TEST(LinearCrossEntropy, ThreadsDoNotChangeABit) {
  ThreadPool one(1), two(2), three(3);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Case c = several_chunks(dtype);
    const Result a = run(c, {one});
    for (ThreadPool* pool : {&two, &three}) {
      const Result b = run(c, {*pool});
      EXPECT_EQ(a.loss, b.loss);
      EXPECT_TRUE(same_bits(a.dx, b.dx));
      EXPECT_TRUE(same_bits(a.dw, b.dw));
    }
  }
}

TEST(LinearCrossEntropy, LossAloneHasTheSameBits) {
  ThreadPool pool(2);
  const Case c(DType::bf16, DType::bf16, 50, 24, 33);
  std::vector<float> loss(50);
  linear_cross_entropy(c.x, c.w, c.targets, loss, {}, {pool});
  EXPECT_EQ(loss, run(c, {pool}).loss);
}

TEST(LinearCrossEntropy, GradientIsTheSlopeOfTheLoss) {
  ThreadPool pool(1);
  Case c(DType::f32, DType::f32, 4, 6, 9);
  const Result r = run(c, {pool, true});
  const auto loss = [&] {
    std::vector<float> l(4);
    linear_cross_entropy(c.x, c.w, c.targets, l, {}, {pool, true});
    double sum = 0;
    for (const float x : l) sum += x;
    return sum;
  };
  const auto compare = [&](Tensor& x, const Tensor& dx) {
    for (size_t i = 0; i < x.span<float>().size(); ++i) {
      constexpr float kStep = 1.0f / 128;
      float& at = x.span<float>()[i];
      const float kept = at;
      at = kept + kStep;
      const double above = loss();
      at = kept - kStep;
      const double below = loss();
      at = kept;
      // The step's square over 6, and four losses below 4 rounded to 2^-23 over 2^-6.
      ASSERT_NEAR((above - below) / (2 * kStep), dx.span<float>()[i], 1e-4);
    }
  };
  compare(c.x, r.dx);
  compare(c.w, r.dw);
}

TEST(LinearCrossEntropy, WithoutTrainedTokensEverythingIsZero) {
  ThreadPool pool(2);
  Case c(DType::f32, DType::f32, 5, 4, 7);
  std::fill(c.targets.begin(), c.targets.end(), -100);
  const Result r = run(c, {pool});
  for (const float x : r.loss) EXPECT_EQ(x, 0);
  for (const float x : r.dx.span<float>()) EXPECT_EQ(x, 0);
  for (const float x : r.dw.span<float>()) EXPECT_EQ(x, 0);
}

TEST(LinearCrossEntropy, NanReachesTheLoss) {
  ThreadPool pool(2);
  Case c(DType::f32, DType::f32, 5, 4, 70);
  c.x.span<float>()[2] = NAN;
  const Result r = run(c, {pool});
  EXPECT_TRUE(std::isnan(r.loss[0]));
  EXPECT_FALSE(std::isnan(r.loss[2]));
}

TEST(LinearCrossEntropy, SaysWhatIsWrong) {
  ThreadPool pool(1);
  Case c(DType::f32, DType::f32, 3, 4, 7);
  std::vector<float> loss(3);
  const auto failure = [&](const HeadGradients& g) -> std::string {
    try {
      linear_cross_entropy(c.x, c.w, c.targets, loss, g, {pool});
    } catch (const UsageError& e) {
      return e.what();
    }
    return "no failure";
  };
  Tensor dx(DType::f32, 3, 4), dw(DType::bf16, 7, 4);
  EXPECT_EQ(failure({dx, {}, 1}),
            "linear_cross_entropy: dx and dw are wanted together or not at all");
  EXPECT_EQ(failure({dx, dw, 1}), "linear_cross_entropy: dw is BF16, expected F32");
  c.targets[2] = 7;
  EXPECT_EQ(failure({}),
            "linear_cross_entropy: token 2's target is 7, expected less than vocab_size = 7");
  c.targets.pop_back();
  EXPECT_EQ(failure({}), "linear_cross_entropy: 2 targets and 3 losses for 3 tokens");
}

}  // namespace
}  // namespace cria::ops
