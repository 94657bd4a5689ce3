#include "ops/int8_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "ops/random_matrix.h"
#include "ops/window.h"

namespace cria::ops {
namespace {

std::vector<float> opened(ConstView rounded, int64_t dim) {
  std::vector<float> row(static_cast<size_t>(dim));
  open_int8_row(rounded, dim, row.data());
  return row;
}

TEST(Int8Rows, EveryNumberIsWithinHalfAStepOfItsGroup) {
  for (const DType dtype : kComputeTypes) {
    for (const int64_t dim : {1, 2, 31, 32, 33, 64, 80, 128}) {
      const Tensor x = random_matrix(dtype, 130, dim, 1);
      Tensor to(DType::i8, 130, int8_row_bytes(dim));
      round_to_int8(x, to);
      for (int64_t r = 0; r < x.rows(); ++r) {
        const std::vector<float> row = opened(to.view().row_range(r, 1), dim);
        for (int64_t begin = 0; begin < dim; begin += kInt8Group) {
          double largest = 0;
          const int64_t end = std::min(dim, begin + kInt8Group);
          for (int64_t d = begin; d < end; ++d)
            largest = std::max(largest, std::fabs(static_cast<double>(number_at(x, r, d))));
          // Half a step; the scale itself is an f16, off by 2^-11, which the largest number feels 127 times.
          const double most = largest / 127 * (0.5 + 127 * 0x1p-11);
          for (int64_t d = begin; d < end; ++d)
            ASSERT_NEAR(row[static_cast<size_t>(d)], number_at(x, r, d), most) << dim;
        }
      }
    }
  }
}

TEST(Int8Rows, WholeMultiplesOfAScaleStayWhatTheyAre) {
  Tensor x(DType::f32, 1, 40);
  for (int64_t d = 0; d < 40; ++d) set_number(x, 0, d, static_cast<double>(d * 3 - 39) * 0.25);
  set_number(x, 0, 0, 127 * 0.25);
  set_number(x, 0, 39, -127 * 0.25);
  Tensor to(DType::i8, 1, int8_row_bytes(40));
  round_to_int8(x, to);
  const std::vector<float> row = opened(to, 40);
  for (int64_t d = 0; d < 40; ++d) EXPECT_EQ(row[static_cast<size_t>(d)], number_at(x, 0, d)) << d;
}

TEST(Int8Rows, WhatIsNoNumberSpoilsItsGroupAlone) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1e30F}) {
    Tensor x = random_matrix(DType::f32, 1, 96, 1);
    x.span<float>()[40] = bad;
    Tensor to(DType::i8, 1, int8_row_bytes(96));
    round_to_int8(x, to);
    const std::vector<float> row = opened(to, 96);
    for (size_t d = 0; d < 96; ++d) EXPECT_EQ(std::isnan(row[d]), d / 32 == 1) << d;
  }
}

TEST(Int8Rows, TinyNumbersBecomeZeroAndZerosStay) {
  Tensor x(DType::f32, 1, 64);
  x.span<float>()[3] = 1e-9F;
  Tensor to(DType::i8, 1, int8_row_bytes(64));
  round_to_int8(x, to);
  for (const float v : opened(to, 64)) EXPECT_EQ(v, 0.0F);
}

TEST(Int8Rows, RefusesWhatDoesNotFit) {
  const Tensor x(DType::f32, 2, 64);
  Tensor short_rows(DType::i8, 2, 64), other(DType::u8, 2, int8_row_bytes(64));
  EXPECT_THROW(round_to_int8(x, short_rows), UsageError);
  EXPECT_THROW(round_to_int8(x, other), UsageError);
}

}  // namespace
}  // namespace cria::ops
