// The ops whose elements do not meet: copies, sums, gates, rotations, rows by id, and the optimizer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/adamw.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/grad_norm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

const std::vector<int64_t> kColumns = {1, 7, 8, 9, 65, 256, 2051};

TEST(ElementwiseOnDevice, ConvertsAddsAndClearsWithTheReferencesBits) {
  for (const DType from : kComputeTypes) {
    for (const DType to : kComputeTypes) {
      for (const int64_t n : kColumns) {
        for (const int64_t gap : {0, 3, 8}) {
          Window x(from, 3, n, 1, gap), y(to, 3, n, 2, gap), z(to, 3, n, 3, gap);
          There x_there(x), y_there(y), z_there(z);
          convert(x_there, y_there, on_device());
          convert(x, y, reference());
          EXPECT_TRUE(same_bits(y_there.back(), y.memory));
          add(z_there, x_there, on_device());
          add(z, x, reference());
          EXPECT_TRUE(same_bits(z_there.back(), z.memory));
          fill_zero(z_there, on_device());
          fill_zero(z.view(), Exec{pool()});
          EXPECT_TRUE(same_bits(z_there.back(), z.memory));
        }
      }
    }
  }
}

// exp is off by an ulp or two, and a few products and sums follow; 1 - s is exact to an ulp of 1.
constexpr double kGate = 8 * 0x1p-23;

TEST(SwigluOnDevice, AgreesWithTheReferenceForEveryMix) {
  for (const DType xt : kComputeTypes) {
    for (const DType yt : kComputeTypes) {
      for (const int64_t n : kColumns) {
        Window gate_up(xt, 3, 2 * n, 1, 8), out(yt, 3, n, 2), dout(yt, 3, n, 3), d(xt, 3, 2 * n, 4);
        There there(gate_up), out_there(out), dout_there(dout), d_there(d);
        swiglu(there, out_there, on_device());
        swiglu(gate_up, out, reference());
        expect_close(out_there.back().view().col_range(0, n), out.view(), kGate);
        swiglu_backward(there, dout_there, d_there, on_device());
        swiglu_backward(gate_up, dout, d, reference());
        expect_close(d_there.back().view().col_range(0, 2 * n), d.view(), kGate, kGate);
        swiglu_backward(there, dout_there, there, on_device());
        EXPECT_TRUE(same_bits(there.back().view().col_range(0, 2 * n),
                              d_there.back().view().col_range(0, 2 * n)));
      }
    }
  }
}

TEST(RopeOnDevice, TurnsForwardAndBackward) {
  const std::vector<int32_t> positions = {0, 1, 5, 99, 2};
  for (const DType dtype : kComputeTypes) {
    for (const int64_t dim : {2, 6, 16, 64, 128, 130}) {
      for (const int64_t gap : {0, 5, 8}) {
        const RopeTable table(dim, 100, 10000, {}), there(dim, 100, 10000, {}, &device());
        for (const Turn turn : {Turn::forward, Turn::backward}) {
          Window x(dtype, 5, 3 * dim, 1, gap);
          There x_there(x);
          rope(x_there, positions, there, turn, on_device());
          const Window before(x);
          rope(x, positions, table, turn, reference());
          // Two products and a sum of numbers below 1, which may cancel.
          expect_close(x_there.back().view().col_range(0, 3 * dim), x.view(), 0, 2 * 0x1p-24);
          EXPECT_TRUE(same_bits(x_there.back().view().col_range(3 * dim, gap),
                                before.memory.view().col_range(3 * dim, gap)));
        }
      }
    }
  }
}

TEST(EmbeddingOnDevice, TakesRowsAndAddsTheirGradientsInTokenOrder) {
  const std::vector<int32_t> ids = {3, 0, 3, 6, 3, 5, 0};
  for (const DType table_type : kComputeTypes) {
    for (const DType type : kComputeTypes) {
      for (const int64_t n : kColumns) {
        for (const int64_t first_row : {0, 2}) {
          Window table(table_type, 5, n, 1), out(type, 7, n, 2), dout(type, 7, n, 3);
          Window dtable(DType::f32, 5, n, 4);
          There table_there(table), out_there(out), dout_there(dout), dtable_there(dtable);
          embedding(ids, table_there, out_there, on_device(), first_row, 7);
          embedding(ids, table, out, reference(), first_row, 7);
          EXPECT_TRUE(same_bits(out_there.back(), out.memory));
          embedding_backward(ids, dout_there, dtable_there, on_device(), first_row, 7);
          Window fast(dtable);
          embedding_backward(ids, dout, fast, Exec{pool()}, first_row, 7);
          // The processor's order is the contract's, so its bits are too.
          EXPECT_TRUE(same_bits(dtable_there.back(), fast.memory));
        }
      }
    }
  }
}

TEST(GradNormOnDevice, SumsSquaresInF64) {
  for (const int64_t n : kColumns) {
    Window x(DType::f32, 5, n, 1);
    There there(x);
    ExactSum sum, expected;
    add_squared_norm(ConstView(there), sum, on_device());
    add_squared_norm(x.view(), expected, reference());
    // f64 sums of a few thousand positive numbers.
    EXPECT_NEAR(sum.value(), expected.value(), 1e-13 * expected.value());
  }
}

// Rows of one number, whose squares have no rounding, from the smallest to the largest and of several matrices.
TEST(GradNormOnDevice, AddsRowsWithoutRounding) {
  Tensor first(DType::f32, 700, 1), second(DType::f32, 40, 1);
  fill_random(first, 1);
  fill_random(second, 2);
  for (int64_t i = 0; i < 700; ++i)
    first.span<float>()[static_cast<size_t>(i)] *=
        std::ldexp(1.0f, static_cast<int>(i % 250) - 125);
  There first_there(first), second_there(second);
  const std::vector<ConstView> here = {first, second}, there = {first_there, second_there};
  ExactSum sum, expected;
  add_squared_norm(there, sum, on_device());
  add_squared_norm(here, expected, reference());
  EXPECT_TRUE(std::ranges::equal(sum.limbs(), expected.limbs()));
  add_squared_norm(std::span<const ConstView>(), sum, on_device());
  EXPECT_EQ(sum.value(), expected.value());

  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    second.span<float>()[17] = bad;
    There bad_there(second);
    ExactSum none;
    add_squared_norm(ConstView(bad_there), none, on_device());
    EXPECT_FALSE(std::isfinite(none.value()));
    EXPECT_EQ(std::isnan(none.value()), std::isnan(bad));
  }
}

struct Kind {
  const char* name;
  DType weight;
  bool low, master;
};
class AdamWOnDevice : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, AdamWOnDevice,
                         testing::Values(Kind{"F32", DType::f32, false, false},
                                         Kind{"Exact", DType::bf16, true, false},
                                         Kind{"Bf16Master", DType::bf16, false, true},
                                         Kind{"F16Master", DType::f16, false, true},
                                         Kind{"Bf16Alone", DType::bf16, false, false}),
                         [](const auto& param) { return std::string(param.param.name); });

// Parameters of many shapes, some longer than a block's share, in one call: each moves as by itself.
TEST(AdamWOfSeveralOnDevice, StepsAllParametersAtOnce) {
  struct Shape {
    int64_t rows, cols;
    DType dtype;
    bool decays;
  };
  const std::vector<Shape> shapes = {{1, 3, DType::f32, false},     {2, 9001, DType::bf16, true},
                                     {0, 5, DType::f32, true},      {130, 64, DType::f32, true},
                                     {1, 8192, DType::bf16, false}, {1, 1, DType::f16, true}};
  std::vector<Tensor> weights, grads, moments;
  for (const Shape& s : shapes) {
    const auto seed = static_cast<uint64_t>(weights.size());
    weights.push_back(random_matrix(s.dtype, s.rows, s.cols, seed));
    grads.push_back(random_matrix(DType::f32, s.rows, s.cols, seed + 10));
    for (int moment = 0; moment < 2; ++moment) moments.emplace_back(DType::f32, s.rows, s.cols);
  }
  std::vector<There> w, g, mv;
  std::vector<AdamWParam> here, there;
  for (const Tensor& t : weights) w.emplace_back(t);
  for (const Tensor& t : grads) g.emplace_back(t);
  for (const Tensor& t : moments) mv.emplace_back(t);
  for (size_t i = 0; i < shapes.size(); ++i) {
    const bool decays = shapes[i].decays;
    here.push_back({weights[i], {}, {}, grads[i], moments[2 * i], moments[2 * i + 1], decays});
    there.push_back({w[i], {}, {}, g[i], mv[2 * i], mv[2 * i + 1], decays});
  }
  const AdamWStep step{.lr = 1e-2f, .weight_decay = 0.5f};
  adamw(there, step, on_device());
  adamw(here, step, reference());
  for (size_t i = 0; i < shapes.size(); ++i) {
    const double unit = shapes[i].dtype == DType::f32 ? 1e-6 : unit_of(shapes[i].dtype);
    expect_close(w[i].back(), weights[i], 0, unit);
    expect_close(mv[2 * i].back(), moments[2 * i], 1e-6);
  }
}

// Ten steps with and without gaps, for each way of keeping a weight.
TEST_P(AdamWOnDevice, StepsAsTheReference) {
  const Kind kind = GetParam();
  for (const int64_t gap : {0, 3}) {
    constexpr int64_t rows = 3, n = 70;
    Window start(DType::f32, rows, n, 1, gap), m(DType::f32, rows, n, 3, gap),
        v(DType::f32, rows, n, 4, gap);
    Window weight(kind.weight, rows, n, 1, gap), grad(DType::f32, rows, n, 2, gap);
    Tensor low(DType::i16, rows, n + gap);
    const View low_view = low.view().col_range(0, n);
    fill_zero(m.view(), Exec{pool()});
    fill_zero(v.view(), Exec{pool()});
    if (kind.low) split_master(start, weight, low_view, reference());
    if (kind.master) convert(start, weight, reference());
    There weight_there(weight), low_there(low), master_there(start), grad_there(grad), m_there(m),
        v_there(v);
    const View low_window = View(low_there).col_range(0, n);
    const AdamWParam here{
        weight, kind.low ? low_view : View(), kind.master ? start.view() : View(), grad, m, v};
    const AdamWParam there{weight_there,
                           kind.low ? low_window : View(),
                           kind.master ? View(master_there) : View(),
                           grad_there,
                           m_there,
                           v_there};
    for (int64_t number = 1; number <= 10; ++number) {
      const AdamWStep step{
          .lr = 1e-2f, .beta2 = 0.95f, .weight_decay = 0.1f, .step = number, .grad_scale = 0.5f};
      adamw(here, step, reference());
      adamw(there, step, on_device());
    }
    // Each step moves a weight by about 0.01, to a few roundings of f32; where the weight alone is kept, each of the ten may be
    // rounded to the other of two neighbours below 1.
    const double each =
        kind.low || kind.master || kind.weight == DType::f32 ? 1e-6 : 10 * unit_of(kind.weight);
    expect_close(weight_there.back().view().col_range(0, n), weight.view(), 0, each);
    expect_close(m_there.back().view().col_range(0, n), m.view(), 1e-6);
    expect_close(v_there.back().view().col_range(0, n), v.view(), 1e-6);
    if (kind.master)
      expect_close(master_there.back().view().col_range(0, n), start.view(), 0, 1e-6);
    if (!kind.low) continue;
    Window joined(DType::f32, rows, n, 5, gap), expected(joined);
    There joined_there(joined);
    join_master(weight_there, low_window, joined_there, on_device());
    join_master(weight, low_view, expected, reference());
    expect_close(joined_there.back().view().col_range(0, n), expected.view(), 0, 1e-6);
  }
}

// The master is a matter of bits, ties and NaN included.
TEST(MasterOnDevice, IsSplitAndJoinedWithoutLoss) {
  Tensor x(DType::f32, 1, 1 << 14);
  auto* const bits = reinterpret_cast<uint32_t*>(x.bytes().data());
  for (uint32_t i = 0; i < (1u << 14); ++i) bits[i] = i * 0x40507u + (i % 3 == 0 ? 0x8000u : 0u);
  There there(x), weight(Tensor(DType::bf16, 1, x.cols())), low(Tensor(DType::i16, 1, x.cols()));
  split_master(there, weight, low, on_device());
  Tensor weight_here(DType::bf16, 1, x.cols()), low_here(DType::i16, 1, x.cols());
  split_master(x, weight_here, low_here, reference());
  EXPECT_TRUE(same_bits(weight.back(), weight_here));
  EXPECT_TRUE(same_bits(low.back(), low_here));
  There joined(Tensor(DType::f32, 1, x.cols()));
  join_master(weight, low, joined, on_device());
  EXPECT_TRUE(same_bits(joined.back(), x));
}

}  // namespace
}  // namespace cria::ops
