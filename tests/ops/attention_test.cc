#include "ops/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ops/attention_cases.h"
#include "ops/attention_ref.h"

namespace cria::ops {
namespace {

struct Shape {
  HeadShape heads;
  Offsets documents;
};

/// Odd lengths, every group size, widths below, at and beyond whole vectors, documents of one token,
/// empty ones, and one longer than a span of keys.
const Shape kShapes[] = {
    {{1, 1, 2}, {0, 1, 3}},     {{3, 3, 6}, {0, 5, 5, 6, 23}}, {{2, 1, 16}, {0, 64}},
    {{6, 2, 18}, {0, 65, 130}}, {{9, 3, 64}, {0, 127, 300}},   {{4, 1, 80}, {0, 100}},
    {{8, 1, 128}, {0, 33, 97}}, {{2, 2, 256}, {0, 70}},        {{10, 2, 8}, {0, 257, 333}},
    {{2, 1, 4}, {0, 1100}},
};

class AttentionShapes : public testing::TestWithParam<std::tuple<Shape, DType>> {};

TEST_P(AttentionShapes, ForwardAndBackwardMatchReference) {
  const auto& [shape, dtype] = GetParam();
  ThreadPool pool(2);
  const AttentionCase c(shape.heads, shape.documents.back(), dtype);
  const AttentionOutputs fast = run_attention(c, shape.documents, {pool});
  const AttentionOutputs ref = run_attention(c, shape.documents, {pool, true});
  // f32: sums of up to 1100 terms, each rounded to 2^-24. 16 bits: both results are rounded once
  // (a unit of 2^-8 or 2^-11), and backward's dout . out sees a rounded out in its terms.
  const double unit = dtype == DType::f32 ? 1e-5 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
  expect_close("out", fast.out, ref.out, unit);
  expect_close("lse", fast.lse, ref.lse, 1e-5);
  const double grad = dtype == DType::f32 ? 1e-5 : 2 * unit;
  expect_close("dq", fast.dq, ref.dq, grad);
  expect_close("dk", fast.dk, ref.dk, grad);
  expect_close("dv", fast.dv, ref.dv, grad);
}
INSTANTIATE_TEST_SUITE_P(Odd, AttentionShapes,
                         testing::Combine(testing::ValuesIn(kShapes),
                                          testing::Values(DType::f32, DType::f16, DType::bf16)));

TEST(AttentionReference, BackwardMatchesFiniteDifferences) {
  const HeadShape shape{4, 2, 6};
  const Offsets documents{0, 3, 8};
  const AttentionCase c(shape, 8, DType::f32);
  AttentionInputs in{Doubles(c.q()), Doubles(c.k()), Doubles(c.v())};
  const Doubles dout(c.dout());
  const auto loss = [&] {
    const AttentionResult r = attention_f64(in, documents, shape);
    double sum = 0;
    for (size_t i = 0; i < r.out.at.size(); ++i) sum += r.out.at[i] * dout.at[i];
    return sum;
  };
  const AttentionInputs grad = attention_backward_f64(in, dout, documents, shape);
  const auto compare = [&](Doubles& x, const Doubles& dx) {
    for (size_t i = 0; i < x.at.size(); ++i) {
      constexpr double kStep = 1e-5;
      const double kept = x.at[i];
      x.at[i] = kept + kStep;
      const double above = loss();
      x.at[i] = kept - kStep;
      const double below = loss();
      x.at[i] = kept;
      // The step's square, and doubles rounded at 2^-53 over 2e-5.
      ASSERT_NEAR((above - below) / (2 * kStep), dx.at[i], 1e-8);
    }
  };
  compare(in.q, grad.q);
  compare(in.k, grad.k);
  compare(in.v, grad.v);
}

TEST(Attention, ThreadsDoNotChangeABit) {
  const AttentionCase c({6, 2, 16}, 1300, DType::f32);
  const Offsets documents{0, 40, 1240, 1300};
  ThreadPool one(1), two(2), three(3);
  const AttentionOutputs a = run_attention(c, documents, {one});
  for (ThreadPool* pool : {&two, &three}) {
    const AttentionOutputs b = run_attention(c, documents, {*pool});
    EXPECT_TRUE(same_bits(a.out, b.out));
    EXPECT_TRUE(same_bits(a.lse, b.lse));
    EXPECT_TRUE(same_bits(a.packed, b.packed));
  }
}

TEST(Attention, DocumentsGiveTheSameBitsAsEachAlone) {
  const HeadShape shape{6, 2, 18};
  const AttentionCase c(shape, 400, DType::bf16);
  const Offsets documents{0, 7, 130, 400};
  ThreadPool pool(2);
  const Exec exec{pool};
  const AttentionOutputs all = run_attention(c, documents, exec);
  AttentionOutputs parts(c);
  for (size_t i = 1; i < documents.size(); ++i) {
    const int64_t first = documents[i - 1], count = documents[i] - first;
    const auto cut = [&](auto view) { return view.row_range(first, count); };
    const Offsets alone{0, count};
    attention(cut(c.q()), cut(c.k()), cut(c.v()), alone, shape, cut(parts.out.view()),
              cut(parts.lse.view()), exec);
    attention_backward(cut(c.q()), cut(c.k()), cut(c.v()), cut(parts.out.view()),
                       cut(parts.lse.view()), cut(c.dout()), alone, shape, cut(parts.dq),
                       cut(parts.dk), cut(parts.dv), exec);
  }
  EXPECT_TRUE(same_bits(all.out, parts.out));
  EXPECT_TRUE(same_bits(all.lse, parts.lse));
  EXPECT_TRUE(same_bits(all.packed, parts.packed));
}

TEST(Attention, HugeScoresStayFinite) {
  AttentionCase c({2, 1, 16}, 100, DType::f32);
  for (float& x : c.packed.span<float>()) x *= 300;
  ThreadPool pool(1);
  const Offsets documents{0, 100};
  const AttentionOutputs fast = run_attention(c, documents, {pool});
  const AttentionOutputs ref = run_attention(c, documents, {pool, true});
  // Scores of some 1e5 are rounded by 2^-24 * 1e5 = 0.006, which moves weights by as much.
  expect_close("out", fast.out, ref.out, 0.02);
}

TEST(Attention, NanInAQueryReachesItsOutputAndNoOtherRow) {
  AttentionCase c({2, 2, 16}, 80, DType::f32);
  c.packed.view().row<float>(70)[3] = NAN;
  ThreadPool pool(1);
  AttentionOutputs r(c);
  const Offsets documents{0, 80};
  attention(c.q(), c.k(), c.v(), documents, c.shape, r.out, r.lse, {pool});
  for (int64_t t = 0; t < 80; ++t) {
    EXPECT_EQ(std::isnan(number_at(r.out, t, 0)), t == 70) << t;
    EXPECT_FALSE(std::isnan(number_at(r.out, t, 16))) << t;
  }
}

template <class Call>
std::string failure_of(Call call) {
  try {
    call();
  } catch (const UsageError& e) {
    return e.what();
  }
  return "no failure";
}

TEST(Attention, SaysWhatIsWrongWithItsShapes) {
  ThreadPool pool(1);
  const AttentionCase c({4, 2, 8}, 6, DType::f32);
  AttentionOutputs r(c);
  const auto call = [&](const Offsets& documents, const HeadShape& shape) {
    return failure_of(
        [&] { attention(c.q(), c.k(), c.v(), documents, shape, r.out, r.lse, {pool}); });
  };
  EXPECT_EQ(call({0, 6}, {4, 3, 8}),
            "attention: 4 heads and 3 kv_heads, expected a positive multiple");
  EXPECT_EQ(call({0, 6}, {4, 2, 7}), "attention: head_dim is 7, expected a positive even number");
  EXPECT_EQ(call({0, 6}, {2, 2, 8}), "attention: q is [6, 32], expected [6, 16]");
  EXPECT_EQ(call({0, 5}, {4, 2, 8}),
            "attention: documents must begin with 0 and end with the number of tokens, 6");
  EXPECT_EQ(call({}, {4, 2, 8}),
            "attention: documents must begin with 0 and end with the number of tokens, 6");
  EXPECT_EQ(call({0, 4, 2, 6}, {4, 2, 8}), "attention: document 1 ends at 2, before its start 4");
  EXPECT_EQ(failure_of([&] {
              attention_backward(c.q(), c.k(), c.v(), r.out, View{}, c.dout(), Offsets{0, 6},
                                 c.shape, r.dq, r.dk, r.dv, {pool});
            }),
            "attention_backward: lse is [0, 0], expected [6, 4]");
}

}  // namespace
}  // namespace cria::ops
