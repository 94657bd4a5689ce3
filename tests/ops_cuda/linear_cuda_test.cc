#include <gtest/gtest.h>

#include "ops/linear.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

// T tokens, I inputs, O outputs.
struct Shape {
  int64_t t, i, o;
};
class Shapes : public testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Odd, Shapes,
                         testing::Values(Shape{1, 1, 1}, Shape{3, 7, 5}, Shape{8, 16, 24},
                                         Shape{9, 65, 33}, Shape{1, 300, 17}, Shape{17, 1, 64}));

/// All windows of all types: with gaps the leading dimension is not the width, and the address not aligned.
template <class Run>
void for_every_mix(const Shape& s, Run run) {
  for (const DType x : kComputeTypes)
    for (const DType w : kComputeTypes)
      for (const DType y : kComputeTypes)
        for (const int64_t gap : {0, 3, 8})
          for (const Into into : {Into::write, Into::add}) run(s, x, w, y, gap, into);
}

// Sums of up to 300 products below 1, in f32 and in double; what is added is below 1.
constexpr double kSum = 300 * 0x1p-24;

TEST_P(Shapes, ForwardAgreesWithTheReference) {
  for_every_mix(
      GetParam(), [](const Shape& s, DType xt, DType wt, DType yt, int64_t gap, Into into) {
        Window x(xt, s.t, s.i, 1, gap), w(wt, s.o, s.i, 2, gap), y(yt, s.t, s.o, 3, gap);
        There x_there(x), w_there(w), y_there(y), decoded(y);
        linear(x_there, w_there, y_there, on_device(), into);
        linear_decode(x_there, w_there, decoded, on_device(), into);
        const Window before(y);
        linear(x, w, y, reference(), into);
        expect_close(y_there.back().view().col_range(0, s.o), y.view(), unit_of(yt) / 2, kSum);
        expect_close(decoded.back().view().col_range(0, s.o), y.view(), unit_of(yt) / 2, kSum);
        EXPECT_TRUE(same_bits(y_there.back().view().col_range(s.o, gap), y.gap_view()));
      });
}

TEST_P(Shapes, GradientsAgreeWithTheReference) {
  for_every_mix(
      GetParam(), [](const Shape& s, DType xt, DType wt, DType yt, int64_t gap, Into into) {
        Window x(xt, s.t, s.i, 1, gap), w(wt, s.o, s.i, 2, gap), dy(yt, s.t, s.o, 3, gap);
        Window dx(xt, s.t, s.i, 4, gap), dw(DType::f32, s.o, s.i, 5, gap);
        There x_there(x), w_there(w), dy_there(dy), dx_there(dx), dw_there(dw);
        linear_input_grad(dy_there, w_there, dx_there, on_device(), into);
        linear_input_grad(dy, w, dx, reference(), into);
        expect_close(dx_there.back().view().col_range(0, s.i), dx.view(), unit_of(xt) / 2, kSum);
        linear_weight_grad(dy_there, x_there, dw_there, on_device(), into);
        linear_weight_grad(dy, x, dw, reference(), into);
        expect_close(dw_there.back().view().col_range(0, s.i), dw.view(), 0, kSum);
      });
}

TEST(LinearOnDevice, DecodesARowAloneAsInAnyBatch) {
  const Tensor x = random_matrix(DType::bf16, 19, 520, 1),
               w = random_matrix(DType::bf16, 37, 520, 2);
  There x_there(x), w_there(w);
  const Tensor all = in_both_orders([&] {
    There y(Tensor(DType::bf16, 19, 37));
    linear_decode(x_there, w_there, y, on_device());
    return y;
  });
  for (int64_t t = 0; t < 19; ++t) {
    There one(Tensor(DType::bf16, 1, 37));
    linear_decode(View(x_there).row_range(t, 1), w_there, one, on_device());
    EXPECT_TRUE(same_bits(one.back(), all.view().row_range(t, 1)));
  }
}

TEST(LinearOnDevice, OfNothingIsZero) {
  There x(Tensor(DType::f32, 3, 1)), w(Tensor(DType::f32, 5, 1));
  const Tensor y = random_matrix(DType::f32, 3, 5, 1);
  There y_there(y);
  linear(View(x).col_range(0, 0), View(w).col_range(0, 0), y_there, on_device(), Into::add);
  EXPECT_TRUE(same_bits(y_there.back(), y));
  linear(View(x).col_range(0, 0), View(w).col_range(0, 0), y_there, on_device());
  EXPECT_TRUE(same_bits(y_there.back(), Tensor(DType::f32, 3, 5)));
}

}  // namespace
}  // namespace cria::ops
