#include "ops/rms_norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "ops/elementwise.h"
#include "ops/window.h"

namespace cria::ops {
namespace {

constexpr float kEps = 1e-5f;

ThreadPool& pool() {
  static ThreadPool p(2);
  return p;
}
Exec fast() { return {pool()}; }
Exec reference() { return {pool(), true}; }

// A sum of n squares in at least 32 interleaved f32 sums is off by (n / 32 + 8) roundings at most;
// its root by half of that; three products follow.
double tolerance(int64_t n) { return ((static_cast<double>(n) / 32 + 8) / 2 + 4) * 0x1p-24; }

TEST(RmsNorm, AgreesWithTheReferenceForEveryMixAndWidth) {
  for (const DType xt : kComputeTypes) {
    for (const DType wt : kComputeTypes) {
      for (const DType yt : kComputeTypes) {
        for (const int64_t n : kWidths) {
          Window x(xt, 3, n, 1), w(wt, 1, n, 2), y(yt, 3, n, 3), expected(y), before(y);
          Tensor rstd(DType::f32, 1, 3), rstd_expected(DType::f32, 1, 3);
          rms_norm(x, w, kEps, y, rstd, fast());
          rms_norm(x, w, kEps, expected, rstd_expected, reference());
          expect_close(y.view(), expected.view(), tolerance(n));
          expect_close(rstd.view(), rstd_expected.view(), tolerance(n));
          EXPECT_TRUE(same_bits(y.gap_view(), before.gap_view()));
        }
      }
    }
  }
}

TEST(RmsNorm, WorksInPlaceAndWithoutRstd) {
  for (const DType dtype : kComputeTypes) {
    Window x(dtype, 5, 65, 1), y(dtype, 5, 65, 2);
    const Tensor w = random_matrix(DType::f32, 1, 65, 3);
    rms_norm(x, w, kEps, y, {}, fast());
    rms_norm(x, w, kEps, x, {}, fast());
    EXPECT_TRUE(same_bits(x.view(), y.view()));
  }
}

TEST(RmsNorm, NanStaysInItsRow) {
  Tensor x = random_matrix(DType::f32, 3, 17, 1), y(DType::f32, 3, 17);
  const Tensor w = random_matrix(DType::f32, 1, 17, 2);
  x.view().row<float>(1)[16] = std::numeric_limits<float>::quiet_NaN();
  rms_norm(x, w, kEps, y, {}, fast());
  for (size_t c = 0; c < 17; ++c) {
    EXPECT_TRUE(std::isfinite(y.view().row<float>(0)[c]));
    EXPECT_TRUE(std::isnan(y.view().row<float>(1)[c]));
    EXPECT_TRUE(std::isfinite(y.view().row<float>(2)[c]));
  }
}

TEST(AddRmsNorm, IsAddThenRmsNormBitForBit) {
  for (const DType xt : kComputeTypes) {
    for (const DType bt : kComputeTypes) {
      for (const int64_t n : kWidths) {
        Window x(xt, 3, n, 1), branch(bt, 3, n, 2), y(DType::bf16, 3, n, 3), x2(x), y2(y);
        const Tensor w = random_matrix(DType::bf16, 1, n, 4);
        add_rms_norm(x, branch, w, kEps, y, {}, fast());
        add(x2, branch, fast());
        rms_norm(x2, w, kEps, y2, {}, fast());
        EXPECT_TRUE(same_bits(x.memory, x2.memory)) << n;
        EXPECT_TRUE(same_bits(y.memory, y2.memory)) << n;
      }
    }
  }
}

TEST(RmsNormBackward, AgreesWithTheReferenceForEveryMixAndWidth) {
  for (const DType xt : kComputeTypes) {
    for (const DType dyt : kComputeTypes) {
      for (const DType dxt : kComputeTypes) {
        for (const int64_t n : kWidths) {
          constexpr int64_t rows = 37;  // more than two blocks of rows
          Window x(xt, rows, n, 1), w(DType::bf16, 1, n, 2), dy(dyt, rows, n, 3);
          Window dx(dxt, rows, n, 4), dx_expected(dx);
          Window dw(DType::f32, 1, n, 5), dw_expected(dw);
          Tensor rstd(DType::f32, 1, rows), y(DType::f32, rows, n);
          rms_norm(x, w, kEps, y, rstd, fast());
          rms_norm_backward(x, w, rstd, dy, dx, dw, fast());
          rms_norm_backward(x, w, rstd, dy, dx_expected, dw_expected, reference());
          // All numbers are below 1 but for rstd, which is large in narrow rows; terms may cancel,
          // so what counts is their size.
          double largest = 1;
          for (const float r : rstd.span<float>()) largest = std::max<double>(largest, r);
          const double tiny = (static_cast<double>(n) / 32 + 16) * 0x1p-24;
          expect_close(dx.view(), dx_expected.view(), tiny, 4 * largest * tiny);
          expect_close(dw.view(), dw_expected.view(), 0, rows * largest * 40 * 0x1p-24);
        }
      }
    }
  }
}

// L = sum(dy * rms_norm(x)) in double; its slope by central differences is the judge.
TEST(RmsNormBackward, IsTheSlopeOfForward) {
  constexpr int64_t rows = 3, n = 9;
  const Tensor x = random_matrix(DType::f32, rows, n, 1), w = random_matrix(DType::f32, 1, n, 2);
  const Tensor dy = random_matrix(DType::f32, rows, n, 3);
  const auto loss = [&](const std::vector<double>& xs, const std::vector<double>& ws) {
    double total = 0;
    for (size_t t = 0; t < rows; ++t) {
      double squares = 0;
      for (size_t i = 0; i < n; ++i) squares += xs[t * n + i] * xs[t * n + i];
      const double r = 1 / std::sqrt(squares / n + static_cast<double>(kEps));
      for (size_t i = 0; i < n; ++i)
        total += static_cast<double>(dy.span<float>()[t * n + i]) * xs[t * n + i] * r * ws[i];
    }
    return total;
  };
  Tensor y(DType::f32, rows, n), rstd(DType::f32, 1, rows), dx(DType::f32, rows, n);
  Tensor dw(DType::f32, 1, n);
  rms_norm(x, w, kEps, y, rstd, fast());
  rms_norm_backward(x, w, rstd, dy, dx, dw, fast());
  const std::vector<double> xs(x.span<float>().begin(), x.span<float>().end());
  const std::vector<double> ws(w.span<float>().begin(), w.span<float>().end());
  constexpr double h = 1e-5;
  const auto slope = [&](bool of_x, size_t i) {
    auto up_x = xs, down_x = xs, up_w = ws, down_w = ws;
    (of_x ? up_x : up_w)[i] += h;
    (of_x ? down_x : down_w)[i] -= h;
    return (loss(up_x, up_w) - loss(down_x, down_w)) / (2 * h);
  };
  for (size_t i = 0; i < rows * n; ++i) EXPECT_NEAR(dx.span<float>()[i], slope(true, i), 2e-6);
  for (size_t i = 0; i < n; ++i) EXPECT_NEAR(dw.span<float>()[i], slope(false, i), 2e-6);
}

TEST(RmsNormBackward, SameBitsForAnyNumberOfThreads) {
  constexpr int64_t rows = 1100, n = 300;  // blocks of 18 rows
  const Tensor x = random_matrix(DType::bf16, rows, n, 1), w = random_matrix(DType::f32, 1, n, 2);
  const Tensor dy = random_matrix(DType::bf16, rows, n, 3);
  Tensor y(DType::bf16, rows, n), rstd(DType::f32, 1, rows);
  rms_norm(x, w, kEps, y, rstd, fast());
  const auto run = [&](const Exec& exec, bool want_weight) {
    Tensor dx = random_matrix(DType::bf16, rows, n, 4), dw = random_matrix(DType::f32, 1, n, 5);
    rms_norm_backward(x, w, rstd, dy, dx, dw, exec);
    return want_weight ? std::move(dw) : std::move(dx);
  };
  expect_same_bits_for_any_threads([&](const Exec& exec) { return run(exec, true); });
  expect_same_bits_for_any_threads([&](const Exec& exec) { return run(exec, false); });
  expect_same_bits_for_any_threads([&](const Exec& exec) {
    Tensor out(DType::bf16, rows, n);
    rms_norm(x, w, kEps, out, {}, exec);
    return out;
  });
}

TEST(RmsNorm, RefusesShapesThatDisagree) {
  Tensor x(DType::f32, 2, 8), w(DType::f32, 1, 7), y(DType::f32, 2, 8), rstd(DType::f32, 1, 3);
  Tensor good(DType::f32, 1, 8), none(DType::f32, 2, 0), ints(DType::i8, 2, 8);
  EXPECT_THROW(rms_norm(x, w, kEps, y, {}, fast()), UsageError);
  EXPECT_THROW(rms_norm(x, good, kEps, y, rstd, fast()), UsageError);
  EXPECT_THROW(rms_norm(ints, good, kEps, y, {}, fast()), UsageError);
  EXPECT_THROW(rms_norm(none, none.view().row_range(0, 1), kEps, none, {}, fast()), UsageError);
  EXPECT_THROW(rms_norm_backward(x, good, rstd, y, y, good, fast()), UsageError);
}

}  // namespace
}  // namespace cria::ops
