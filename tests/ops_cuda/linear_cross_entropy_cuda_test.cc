#include <gtest/gtest.h>

#include <vector>

#include "ops/close.h"
#include "ops/linear_cross_entropy.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

/// One call here and there.
struct Case {
  Tensor x, w, dx, dw;
  std::vector<int32_t> targets;
  std::vector<float> losses;
  Case(DType dtype, int64_t tokens, int64_t hidden, int64_t vocab)
      : x(random_matrix(dtype, tokens, hidden, 1)),
        w(random_matrix(dtype, vocab, hidden, 2)),
        dx(random_matrix(dtype, tokens, hidden, 3)),
        dw(random_matrix(DType::f32, vocab, hidden, 4)),
        losses(static_cast<size_t>(tokens), -1.0f) {
    for (int64_t t = 0; t < tokens; ++t)
      targets.push_back(t % 3 == 1 ? -100 : static_cast<int32_t>(t * 7 % vocab));
  }
};

void expect_reference(Case& c, double relative) {
  There x(c.x), w(c.w), dx(c.dx), dw(c.dw);
  std::vector<float> losses(c.losses), forward_only(c.losses);
  constexpr float scale = 0.125f;
  linear_cross_entropy(x, w, c.targets, losses, {dx, dw, scale}, on_device());
  linear_cross_entropy(x, w, c.targets, forward_only, {}, on_device());
  EXPECT_EQ(losses, forward_only);
  linear_cross_entropy(c.x, c.w, c.targets, c.losses, {c.dx, c.dw, scale}, reference());
  for (size_t t = 0; t < losses.size(); ++t)
    EXPECT_NEAR(losses[t], c.losses[t], relative * 10) << t;
  expect_close("dx", dx.back(), c.dx, relative);
  expect_close("dw", dw.back(), c.dw, relative);
}

// f32: sums of tens of terms. bf16: logits are rounded, so where sums in f32 and double round apart a logit is off by 2^-8 of
// itself (about 4), and dlogits are rounded too. f16: eight times finer, dlogits are f32.
double tolerance(DType dtype) {
  return dtype == DType::f32 ? 1e-5 : dtype == DType::f16 ? 4 * 0x1p-11 : 4 * 0x1p-8;
}

TEST(LinearCrossEntropyOnDevice, AgreesWithTheReference) {
  for (const DType dtype : kComputeTypes) {
    for (const int64_t vocab : {1, 7, 37, 300, 5000}) {
      Case c(dtype, 17, 24, vocab);
      expect_reference(c, tolerance(dtype));
    }
  }
}

TEST(LinearCrossEntropyOnDevice, TakesTrainedTokensThatAreNeighboursInPlaceAndNone) {
  for (const int begin : {0, 4}) {
    Case c(DType::bf16, 9, 16, 50);
    for (int t = 0; t < 9; ++t)
      c.targets[static_cast<size_t>(t)] = t >= begin && begin > 0 ? t : -100;
    expect_reference(c, tolerance(DType::bf16));
  }
}

// A vocabulary of 300000 makes chunks of 64 tokens.
TEST(LinearCrossEntropyOnDevice, GoesOnOverChunks) {
  ASSERT_EQ(head_chunk_tokens(300000), 64);
  Case c(DType::f32, 99, 2, 300000);
  expect_reference(c, tolerance(DType::f32));
}

// Two ranks one after the other: what a rank would hear from the other one is known from runs before.
TEST(LinearCrossEntropyOnDevice, TwoSlicesOfTheVocabularyGiveTheWholeOnesLosses) {
  constexpr int64_t cut = 15, vocab = 40;
  Case c(DType::f32, 8, 12, vocab);
  There x(c.x), w(c.w);
  std::vector<float> most[2];
  std::vector<double> sums[2];
  const auto run = [&](int slice, const HeadGradients& gradients) {
    const auto max = [&](std::span<float> values) {
      most[slice].assign(values.begin(), values.end());
      if (most[1 - slice].empty()) return;
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = std::max(values[i], most[1 - slice][i]);
    };
    const auto sum = [&](std::span<double> values) {
      sums[slice].assign(values.begin(), values.end());
      if (sums[1 - slice].empty()) return;
      for (size_t i = 0; i < values.size(); ++i) values[i] += sums[1 - slice][i];
    };
    const VocabSplit split{slice == 0 ? 0 : cut, vocab, max, sum};
    std::vector<float> losses(8);
    linear_cross_entropy(x, View(w).row_range(split.first_row, slice == 0 ? cut : vocab - cut),
                         c.targets, losses, gradients, on_device(), &split);
    return losses;
  };
  // The largest logits of both; then the sums of both, relative to those.
  for (int round = 0; round < 2; ++round) {
    for (const int slice : {0, 1}) run(slice, {});
  }
  linear_cross_entropy(c.x, c.w, c.targets, c.losses, {c.dx, c.dw, 1}, reference());
  for (const int slice : {0, 1}) {
    const int64_t first = slice == 0 ? 0 : cut, rows = slice == 0 ? cut : vocab - cut;
    There dx(c.dx), dw(Tensor(DType::f32, rows, 12));
    const std::vector<float> losses = run(slice, {dx, dw, 1});
    for (size_t t = 0; t < 8; ++t) EXPECT_NEAR(losses[t], c.losses[t], 1e-4) << t;
    expect_close("dw", dw.back(), c.dw.view().row_range(first, rows), 1e-5);
  }
}

}  // namespace
}  // namespace cria::ops
