// Comparing a fast result with the plain one.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "ops/random_matrix.h"

namespace cria::ops {

/// |a - b| <= relative * the largest |b|: sums of terms of both signs are as exact as their largest
/// terms, not as themselves.
inline void expect_close(const std::string& name, ConstView a, ConstView b, double relative) {
  double largest = 0, worst = 0;
  for (int64_t r = 0; r < b.rows; ++r) {
    for (int64_t c = 0; c < b.cols; ++c) {
      const double difference = std::abs(number_at(a, r, c) - number_at(b, r, c));
      largest = std::max<double>(largest, std::abs(number_at(b, r, c)));
      worst = difference > worst || std::isnan(difference) ? difference : worst;
    }
  }
  EXPECT_LE(worst, relative * largest) << name;
}

/// |a - b| / |b|, as vectors of all their elements.
inline double relative_distance(ConstView a, ConstView b) {
  double squares = 0, size = 0;
  for (int64_t r = 0; r < b.rows; ++r) {
    for (int64_t c = 0; c < b.cols; ++c) {
      squares += std::pow(static_cast<double>(number_at(a, r, c) - number_at(b, r, c)), 2);
      size += std::pow(static_cast<double>(number_at(b, r, c)), 2);
    }
  }
  return std::sqrt(squares / size);
}

}  // namespace cria::ops
