#include <gtest/gtest.h>

#include "ops/rms_norm.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

constexpr float kEps = 1e-5f;

// A sum of n squares in 256 interleaved f32 sums of eights is off by (n / 256 + 16) roundings at most; its root by half of that;
// three products follow.
double tolerance(int64_t n) { return ((static_cast<double>(n) / 256 + 16) / 2 + 4) * 0x1p-24; }

class Widths : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Odd, Widths, testing::Values(1, 7, 8, 9, 65, 256, 1000, 2048, 2051, 4096));

TEST_P(Widths, RmsNormAgreesWithTheReferenceForEveryMix) {
  const int64_t n = GetParam();
  for (const DType xt : kComputeTypes) {
    for (const DType yt : kComputeTypes) {
      for (const int64_t gap : {0, 5, 8}) {
        Window x(xt, 3, n, 1, gap), w(yt, 1, n, 2, gap), y(yt, 3, n, 3, gap), expected(y);
        Tensor rstd_expected(DType::f32, 1, 3);
        rms_norm(x, w, kEps, expected, rstd_expected, reference());
        There rstd_there(Tensor(DType::f32, 1, 3));
        const Tensor y_back = in_both_orders([&] {
          There x_there(x), w_there(w), y_there(y);
          rms_norm(x_there, w_there, kEps, y_there, rstd_there, on_device());
          return y_there;
        });
        expect_close(y_back.view().col_range(0, n), expected.view(), tolerance(n));
        EXPECT_TRUE(same_bits(y_back.view().col_range(n, gap), y.gap_view()));
        expect_close(rstd_there.back(), rstd_expected, tolerance(n));
      }
    }
  }
}

TEST_P(Widths, AddRmsNormAddsAndRoundsFirst) {
  const int64_t n = GetParam();
  for (const DType xt : kComputeTypes) {
    Window x(xt, 2, n, 1), branch(DType::bf16, 2, n, 2), y(xt, 2, n, 3);
    const Tensor w = random_matrix(DType::bf16, 1, n, 4);
    There x_there(x), branch_there(branch), y_there(y), w_there(w);
    add_rms_norm(x_there, branch_there, w_there, kEps, y_there, {}, on_device());
    add_rms_norm(x, branch, w, kEps, y, {}, reference());
    EXPECT_TRUE(same_bits(x_there.back(), x.memory));
    expect_close(y_there.back().view().col_range(0, n), y.view(), tolerance(n));
  }
}

TEST_P(Widths, BackwardAgreesWithTheReference) {
  const int64_t n = GetParam();
  for (const DType xt : kComputeTypes) {
    for (const DType dt : kComputeTypes) {
      constexpr int64_t rows = 37;  // more than two runs of 16
      Window x(xt, rows, n, 1), w(DType::bf16, 1, n, 2), dy(dt, rows, n, 3), dx(dt, rows, n, 4);
      Window dw(DType::f32, 1, n, 5);
      Tensor rstd(DType::f32, 1, rows), y(DType::f32, rows, n);
      rms_norm(x, w, kEps, y, rstd, reference());
      There dw_there(dw);
      const Tensor dx_back = in_both_orders([&] {
        There x_there(x), w_there(w), rstd_there(rstd), dy_there(dy), dx_there(dx);
        dw_there = There(dw);
        rms_norm_backward(x_there, w_there, rstd_there, dy_there, dx_there, dw_there, on_device());
        return dx_there;
      });
      rms_norm_backward(x, w, rstd, dy, dx, dw, reference());
      // All numbers are below 1 but for rstd, which is large in narrow rows; terms may cancel, so what counts is their size.
      double largest = 1;
      for (const float r : rstd.span<float>()) largest = std::max<double>(largest, r);
      const double tiny = (static_cast<double>(n) / 256 + 24) * 0x1p-24;
      expect_close(dx_back.view().col_range(0, n), dx.view(), tiny, 4 * largest * tiny);
      expect_close(dw_there.back().view().col_range(0, n), dw.view(), 0,
                   rows * largest * 40 * 0x1p-24);
    }
  }
}

TEST(RmsNormOnDevice, WorksInPlaceAndWithoutRows) {
  const Tensor x = random_matrix(DType::bf16, 5, 65, 1), w = random_matrix(DType::f32, 1, 65, 3);
  There in_place(x), x_there(x), w_there(w), y_there(x);
  rms_norm(in_place, w_there, kEps, in_place, {}, on_device());
  rms_norm(x_there, w_there, kEps, y_there, {}, on_device());
  EXPECT_TRUE(same_bits(in_place.back(), y_there.back()));
  const View none = View(x_there).row_range(0, 0);
  rms_norm(none, w_there, kEps, none, {}, on_device());
  device().wait();
}

}  // namespace
}  // namespace cria::ops
