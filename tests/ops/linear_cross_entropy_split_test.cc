// The head's loss with its vocabulary cut over ranks, which are threads here.
#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <thread>

#include "base/error.h"
#include "ops/close.h"
#include "ops/linear_cross_entropy.h"
#include "ops/random_matrix.h"

namespace cria::ops {
namespace {

/// Element-wise all-reduce of threads, in rank order.
template <class T>
class Group {
 public:
  explicit Group(int ranks) : spans_(static_cast<size_t>(ranks)), barrier_(ranks) {}

  template <class Op>
  void reduce(size_t rank, std::span<T> mine, Op op) {
    spans_[rank] = mine;
    barrier_.arrive_and_wait();
    std::vector<T> result(spans_[0].begin(), spans_[0].end());
    for (size_t r = 1; r < spans_.size(); ++r) {
      for (size_t i = 0; i < result.size(); ++i) result[i] = op(result[i], spans_[r][i]);
    }
    barrier_.arrive_and_wait();
    std::copy(result.begin(), result.end(), mine.begin());
  }

 private:
  std::vector<std::span<T>> spans_;
  std::barrier<> barrier_;
};

struct Case {
  Tensor x, w;
  std::vector<int32_t> targets;  // every third untrained, the others all over the vocabulary
  Case(DType dtype, int64_t tokens, int64_t hidden, int64_t vocab)
      : x(random_matrix(dtype, tokens, hidden, 1)), w(random_matrix(dtype, vocab, hidden, 2)) {
    for (int64_t t = 0; t < tokens; ++t) {
      targets.push_back(t % 3 == 1 ? -100 : static_cast<int32_t>(t * 31 % vocab));
    }
  }
};

struct Result {
  std::vector<float> loss;
  Tensor dx, dw;
  Result(const Case& c, int64_t rows)
      : loss(c.targets.size(), -1),
        dx(c.x.dtype(), c.x.rows(), c.x.cols()),
        dw(DType::f32, rows, c.w.cols()) {
    fill_random(dx, 3);  // must be written over
    fill_random(dw, 4);
  }
};

constexpr float kScale = 0.25f;

Result whole(const Case& c, bool reference) {
  ThreadPool pool(2);
  Result r(c, c.w.rows());
  linear_cross_entropy(c.x, c.w, c.targets, r.loss, {r.dx, r.dw, kScale}, {pool, reference});
  return r;
}

struct Run {
  int64_t slices;
  bool reference = false, exchange = true;
};

/// Runs all slices at once. dx is added up over ranks, dw put together; every rank's loss must be
/// the same.
Result sliced(const Case& c, const Run& run) {
  const int64_t vocab = c.w.rows();
  Group<float> max_group(static_cast<int>(run.slices));
  Group<double> sum_group(static_cast<int>(run.slices));
  std::vector<Result> parts;
  const auto begin = [&](int64_t rank) { return vocab * rank / run.slices; };
  for (int64_t r = 0; r < run.slices; ++r) parts.emplace_back(c, begin(r + 1) - begin(r));
  std::vector<std::thread> threads;
  for (int64_t r = 0; r < run.slices; ++r) {
    threads.emplace_back([&, r] {
      ThreadPool pool(1);
      const auto rank = static_cast<size_t>(r);
      VocabSplit split{begin(r), vocab, [](std::span<float>) {}, [](std::span<double>) {}};
      if (run.exchange) {
        split.max = [&](std::span<float> m) {
          max_group.reduce(rank, m, [](float a, float b) { return std::max(a, b); });
        };
        split.sum = [&](std::span<double> s) { sum_group.reduce(rank, s, std::plus<>()); };
      }
      Result& part = parts[rank];
      linear_cross_entropy(c.x, c.w.view().row_range(begin(r), begin(r + 1) - begin(r)), c.targets,
                           part.loss, {part.dx, part.dw, kScale}, {pool, run.reference}, &split);
    });
  }
  for (std::thread& t : threads) t.join();

  Result sum(c, vocab);
  sum.loss = parts[0].loss;
  if (run.exchange) {
    for (const Result& part : parts) EXPECT_EQ(part.loss, sum.loss);
  }
  for (int64_t t = 0; t < c.x.rows(); ++t) {
    for (int64_t i = 0; i < c.x.cols(); ++i) {
      double dx = 0;
      for (const Result& part : parts) dx += static_cast<double>(number_at(part.dx, t, i));
      set_number(sum.dx, t, i, static_cast<float>(dx));
    }
  }
  for (int64_t r = 0; r < run.slices; ++r) {
    const std::span<float> to = sum.dw.span<float>();
    const std::span<float> from = parts[static_cast<size_t>(r)].dw.span<float>();
    std::copy(from.begin(), from.end(), to.begin() + begin(r) * c.w.cols());
  }
  return sum;
}

struct Bounds {
  double loss, grad;
};
// Of the whole op's own test: sums in another order, and rare neighbour roundings of a logit.
Bounds bounds(DType dtype) {
  if (dtype == DType::f32) return {5e-6, 2e-5};
  return dtype == DType::f16 ? Bounds{0x1p-7, 0x1p-9} : Bounds{0x1p-4, 0x1p-6};
}

void expect_near(const Result& a, const Result& b, const Bounds& within) {
  for (size_t t = 0; t < a.loss.size(); ++t) EXPECT_NEAR(a.loss[t], b.loss[t], within.loss) << t;
  expect_close("dx", a.dx, b.dx, within.grad);
  expect_close("dw", a.dw, b.dw, within.grad);
}

class Slices : public testing::TestWithParam<std::tuple<int64_t, DType>> {};

TEST_P(Slices, MatchTheWholeVocabularyAndTheReference) {
  const auto& [slices, dtype] = GetParam();
  const Case c(dtype, 66, 70, 131);  // uneven slices, targets in each
  const Result fast = sliced(c, {slices});
  expect_near(fast, whole(c, false), bounds(dtype));
  expect_near(fast, whole(c, true), bounds(dtype));
}

TEST_P(Slices, OfTheReferenceMatchTheReference) {
  const auto& [slices, dtype] = GetParam();
  const Case c(dtype, 9, 17, 11);
  // Only dx's parts are rounded to their storage before they are added.
  const double grad = dtype == DType::f32 ? 1e-6 : dtype == DType::f16 ? 0x1p-10 : 0x1p-7;
  expect_near(sliced(c, {slices, true}), whole(c, true), {1e-6, grad});
}

TEST_P(Slices, OfSeveralChunksAddUp) {
  const auto& [slices, dtype] = GetParam();
  const Case c(dtype, 2 * head_chunk_tokens(11), 6, 11);  // more trained tokens than a chunk
  Bounds within = bounds(dtype);
  within.grad *= 2;  // the second chunk is added to the first
  expect_near(sliced(c, {slices}), whole(c, true), within);
}
INSTANTIATE_TEST_SUITE_P(LinearCrossEntropy, Slices,
                         testing::Combine(testing::Values(1, 2, 3),
                                          testing::Values(DType::f32, DType::f16, DType::bf16)));

TEST(LinearCrossEntropySlices, OneSliceHasTheBitsOfTheWhole) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const Case c(dtype, 66, 70, 131);
    const Result split = sliced(c, {1}), plain = whole(c, false);
    EXPECT_EQ(split.loss, plain.loss);
    EXPECT_TRUE(same_bits(split.dx, plain.dx));
    EXPECT_TRUE(same_bits(split.dw, plain.dw));
  }
}

TEST(LinearCrossEntropySlices, WithoutTheExchangeTheLossIsAnother) {
  const Case c(DType::f32, 66, 70, 131);
  const Result fast = sliced(c, {2, false, false}), plain = whole(c, false);
  for (size_t t = 0; t < c.targets.size(); ++t) {
    if (c.targets[t] >= 0) {
      EXPECT_GT(std::abs(fast.loss[t] - plain.loss[t]), 0.01f) << t;
    }
  }
}

TEST(LinearCrossEntropySlices, RefusesRowsAndTargetsOutsideTheVocabulary) {
  ThreadPool pool(1);
  const Case c(DType::f32, 3, 4, 7);
  std::vector<float> loss(3);
  const auto fails = [&](int64_t first, int64_t total, std::vector<int32_t> targets) {
    const VocabSplit split{first, total, [](std::span<float>) {}, [](std::span<double>) {}};
    EXPECT_THROW(linear_cross_entropy(c.x, c.w, targets, loss, {}, {pool}, &split), UsageError);
  };
  fails(-1, 14, {0, 0, 0});
  fails(8, 14, {0, 0, 0});
  fails(0, 6, {0, 0, 0});
  fails(7, 14, {0, 14, 0});
}

}  // namespace
}  // namespace cria::ops
