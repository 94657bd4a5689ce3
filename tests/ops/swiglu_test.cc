#include "ops/swiglu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/window.h"

namespace cria::ops {
namespace {

ThreadPool& pool() {
  static ThreadPool p(2);
  return p;
}
Exec fast() { return {pool()}; }
Exec reference() { return {pool(), true}; }

// Gates from -20 to 20.
void widen(View gate_up) {
  for (int64_t r = 0; r < gate_up.rows; ++r) {
    for (int64_t c = 0; c < gate_up.cols / 2; ++c)
      set_number(gate_up, r, c, 20 * number_at(gate_up, r, c));
  }
}

TEST(Swiglu, AgreesWithTheReferenceForEveryMixAndWidth) {
  for (const DType gt : kComputeTypes) {
    for (const DType ot : kComputeTypes) {
      for (const int64_t n : kWidths) {
        Window gate_up(gt, 3, 2 * n, 1), out(ot, 3, n, 2), expected(out), before(out);
        widen(gate_up);
        swiglu(gate_up, out, fast());
        swiglu(gate_up, expected, reference());
        expect_close(out.view(), expected.view(), 6 * 0x1p-24);  // exp 2, sum, quotient, 2 products
        EXPECT_TRUE(same_bits(out.gap_view(), before.gap_view()));
      }
    }
  }
}

TEST(SwigluBackward, AgreesWithTheReferenceForEveryMixAndWidth) {
  for (const DType gt : kComputeTypes) {
    for (const DType ot : kComputeTypes) {
      for (const DType dt : kComputeTypes) {
        for (const int64_t n : kWidths) {
          Window gate_up(gt, 3, 2 * n, 1), dout(ot, 3, n, 2), d(dt, 3, 2 * n, 3), expected(d);
          widen(gate_up);
          swiglu_backward(gate_up, dout, d, fast());
          swiglu_backward(gate_up, dout, expected, reference());
          // 1 + gate * (1 - s) cancels near gate = -1.28, and 1 - s for large gates: absolute error
          // of some roundings of numbers up to 20.
          expect_close(d.view(), expected.view(), 8 * 0x1p-24, 20 * 4 * 0x1p-24);
        }
      }
    }
  }
}

TEST(SwigluBackward, WorksInPlace) {
  Window gate_up(DType::bf16, 5, 2 * 65, 1), d(DType::bf16, 5, 2 * 65, 2);
  const Tensor dout = random_matrix(DType::bf16, 5, 65, 3);
  swiglu_backward(gate_up, dout, d, fast());
  swiglu_backward(gate_up, dout, gate_up, fast());
  EXPECT_TRUE(same_bits(gate_up.view(), d.view()));
}

TEST(SwigluBackward, IsTheSlopeOfForward) {
  constexpr int64_t n = 21;
  Tensor gate_up = random_matrix(DType::f32, 1, 2 * n, 1), d(DType::f32, 1, 2 * n);
  const Tensor dout = random_matrix(DType::f32, 1, n, 2);
  for (size_t i = 0; i < n; ++i) gate_up.span<float>()[i] *= 6;
  swiglu_backward(gate_up, dout, d, fast());
  constexpr double h = 1e-5;
  const auto f = [](double gate, double up) { return gate / (1 + std::exp(-gate)) * up; };
  for (size_t i = 0; i < n; ++i) {
    const double g = gate_up.span<float>()[i], u = gate_up.span<float>()[i + n];
    const double weight = dout.span<float>()[i];
    EXPECT_NEAR(d.span<float>()[i], weight * (f(g + h, u) - f(g - h, u)) / (2 * h), 2e-6);
    EXPECT_NEAR(d.span<float>()[i + n], weight * (f(g, u + h) - f(g, u - h)) / (2 * h), 2e-6);
  }
}

TEST(Swiglu, FarGatesSaturateAndNanStays) {
  Tensor gate_up(DType::f32, 1, 10), out(DType::f32, 1, 5);
  const float gates[] = {-200, -90, 90, 200, std::numeric_limits<float>::quiet_NaN()};
  for (size_t i = 0; i < 5; ++i) {
    gate_up.span<float>()[i] = gates[i];
    gate_up.span<float>()[i + 5] = 1;
  }
  swiglu(gate_up, out, fast());
  EXPECT_NEAR(out.span<float>()[0], 0, 1e-30);
  EXPECT_NEAR(out.span<float>()[1], 0, 1e-30);
  EXPECT_EQ(out.span<float>()[2], 90);
  EXPECT_EQ(out.span<float>()[3], 200);
  EXPECT_TRUE(std::isnan(out.span<float>()[4]));
}

TEST(Swiglu, SameBitsForAnyNumberOfThreads) {
  const Tensor gate_up = random_matrix(DType::bf16, 40, 2 * 1500, 1);
  const Tensor dout = random_matrix(DType::bf16, 40, 1500, 2);
  expect_same_bits_for_any_threads([&](const Exec& exec) {
    Tensor out(DType::bf16, 40, 1500);
    swiglu(gate_up, out, exec);
    return out;
  });
  expect_same_bits_for_any_threads([&](const Exec& exec) {
    Tensor d(DType::bf16, 40, 2 * 1500);
    swiglu_backward(gate_up, dout, d, exec);
    return d;
  });
}

TEST(Swiglu, RefusesShapesThatDisagree) {
  Tensor gate_up(DType::f32, 2, 8), out(DType::f32, 2, 5);
  EXPECT_THROW(swiglu(gate_up, out, fast()), UsageError);
  EXPECT_THROW(swiglu_backward(gate_up, out, gate_up, fast()), UsageError);
}

}  // namespace
}  // namespace cria::ops
