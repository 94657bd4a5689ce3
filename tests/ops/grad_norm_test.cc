#include "ops/grad_norm.h"

#include <gtest/gtest.h>

#include <algorithm>
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

/// Rows' sums added in order, in f64: what the exact sum is held against.
double squared_norm(ConstView x, const Exec& exec) {
  double total = 0;
  for (int64_t r = 0; r < std::max<int64_t>(1, x.rows); ++r) {
    ExactSum row;
    add_squared_norm(x.row_range(r, std::min<int64_t>(1, x.rows)), row, exec);
    total += row.value();
  }
  return total;
}

TEST(SquaredNorm, AgreesWithTheReferenceForEveryWidth) {
  for (const int64_t n : kWidths) {
    Window x(DType::f32, 5, n, 1);
    const double expected = squared_norm(x, reference());
    // Squares of f32 are exact in f64; only the order of the sum differs.
    EXPECT_NEAR(squared_norm(x, fast()), expected, expected * 5 * static_cast<double>(n) * 0x1p-53);
  }
}

TEST(SquaredNorm, CountsEveryElementOfLongRows) {
  Tensor x(DType::f32, 2, 50'001);
  for (float& v : x.span<float>()) v = 3;
  EXPECT_EQ(squared_norm(x, fast()), 9.0 * 2 * 50'001);
}

TEST(SquaredNorm, DoesNotOverflowWhereF32Would) {
  Tensor x(DType::f32, 1, 2);
  x.span<float>()[0] = x.span<float>()[1] = 1e30f;
  EXPECT_NEAR(squared_norm(x, fast()), 2e60, 1e54);
}

TEST(SquaredNorm, NanAndInfinityComeThrough) {
  for (const size_t at : {size_t{0}, size_t{31}, size_t{40}}) {
    Tensor x = random_matrix(DType::f32, 1, 41, 1);
    x.span<float>()[at] = std::numeric_limits<float>::infinity();
    EXPECT_TRUE(std::isinf(squared_norm(x, fast())));
    x.span<float>()[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(squared_norm(x, fast())));
  }
}

TEST(SquaredNorm, SameBitsForAnyNumberOfThreads) {
  const Tensor x = random_matrix(DType::f32, 70, 17'000, 1);
  expect_same_bits_for_any_threads([&](const Exec& exec) {
    Tensor out(DType::f64, 1, 1);
    out.span<double>()[0] = squared_norm(x, exec);
    return out;
  });
}

TEST(AddSquaredNorm, HasTheSameBitsHoweverRowsAreCutAndOrdered) {
  const Tensor x = random_matrix(DType::f32, 300, 77, 1);
  ExactSum whole, reference_sum;
  add_squared_norm(x, whole, fast());
  add_squared_norm(x, reference_sum, reference());
  const double expected = whole.value();
  EXPECT_NEAR(expected, squared_norm(x, reference()), expected * 400 * 0x1p-53);
  EXPECT_NEAR(expected, reference_sum.value(), expected * 77 * 0x1p-53);
  bool plain_differs = false;
  for (const int64_t cut : {1, 7, 100, 299}) {
    const ConstView head = x.view().row_range(0, cut), tail = x.view().row_range(cut, 300 - cut);
    ExactSum sum, other;
    add_squared_norm(tail, sum, fast());
    add_squared_norm(head, other, fast());
    sum.merge(other);
    EXPECT_EQ(sum.value(), expected);
    plain_differs = plain_differs || squared_norm(tail, fast()) + squared_norm(head, fast()) !=
                                         squared_norm(x, fast());
  }
  EXPECT_TRUE(plain_differs);  // else the cuts would prove nothing
}

TEST(SquaredNorm, OfNothingIsZeroAndOfHalvesAnError) {
  Tensor none(DType::f32, 0, 5), half(DType::f16, 1, 5);
  EXPECT_EQ(squared_norm(none, fast()), 0);
  EXPECT_THROW(squared_norm(half, fast()), UsageError);
}

}  // namespace
}  // namespace cria::ops
