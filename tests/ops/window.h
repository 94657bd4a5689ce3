// What the tests of elementwise and row-wise ops share: windows with a gap between their rows, and
// comparison with tolerances that follow from the dtypes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/exec.h"
#include "ops/random_matrix.h"
#include "tensor/tensor.h"

namespace cria::ops {

inline const std::vector<DType> kComputeTypes = {DType::f32, DType::f16, DType::bf16};
inline const std::vector<int64_t> kWidths = {1, 2, 7, 8, 9, 15, 17, 63, 65, 576, 1000, 4096};

/// A random matrix whose rows are `gap` elements apart; the gap is random too, and must stay.
struct Window {
  Tensor memory;
  int64_t gap;
  Window(DType dtype, int64_t rows, int64_t cols, uint64_t seed, int64_t gap_elements = 5)
      : memory(random_matrix(dtype, rows, cols + gap_elements, seed)), gap(gap_elements) {}
  Window(const Window& o) : memory(o.memory.clone()), gap(o.gap) {}
  [[nodiscard]] View view() { return memory.view().col_range(0, memory.cols() - gap); }
  operator View() { return view(); }       // NOLINT
  operator ConstView() { return view(); }  // NOLINT
  [[nodiscard]] View gap_view() { return memory.view().col_range(memory.cols() - gap, gap); }
};

/// Distance of neighbouring numbers near 1.
inline double unit_of(DType dtype) {
  return dtype == DType::f32 ? 0x1p-23 : dtype == DType::f16 ? 0x1p-10 : 0x1p-7;
}
/// Numbers below this lose relative precision.
inline double smallest_normal(DType dtype) { return dtype == DType::f16 ? 0x1p-14 : 0x1p-126; }

/// |a - b| is at most one unit in the last place of the dtype (two correct roundings of numbers
/// that differ by little may fall that far apart) plus `relative` of b plus `absolute`.
inline void expect_close(ConstView a, ConstView b, double relative, double absolute = 0) {
  ASSERT_EQ(a.dtype, b.dtype);
  ASSERT_EQ(a.rows, b.rows);
  ASSERT_EQ(a.cols, b.cols);
  const double unit = unit_of(a.dtype);
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.cols; ++c) {
      const double x = number_at(a, r, c), y = number_at(b, r, c);
      const double size = std::max(std::abs(y), smallest_normal(a.dtype));
      ASSERT_LE(std::abs(x - y), (unit + relative) * size + absolute)
          << "at [" << r << ", " << c << "] of [" << a.rows << ", " << a.cols << "], "
          << name_of(a.dtype) << ": " << x << " and " << y;
    }
  }
}

/// Runs body(exec) with one, two and three threads; body returns a Tensor or Window whose bits must
/// agree.
template <class Body>
void expect_same_bits_for_any_threads(Body body) {
  ThreadPool one(1);
  auto expected = body(Exec{one});
  for (const int threads : {2, 3}) {
    ThreadPool pool(threads);
    auto got = body(Exec{pool});
    EXPECT_TRUE(same_bits(View(got), View(expected))) << threads << " threads";
  }
}

}  // namespace cria::ops
