// A sum of doubles without rounding: a fixed-point number as wide as the range of double. Whatever is added in whatever order and
// grouping gives the same value, so ranks and threads agree on it however the work was divided.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cria {

class ExactSum {
 public:
  void add(double value);
  void merge(const ExactSum& other);
  /// The sum, rounded once to the nearest double (results below the smallest normal number may be one unit off). NaN when a NaN
  /// or infinities of both signs were added; infinity when one was, or the sum is too large.
  [[nodiscard]] double value() const;

  /// The number itself, for sums over ranks: integers that may be added element by element, up to 2^30 normalised ones.
  [[nodiscard]] std::span<int64_t> limbs() { return limbs_; }
  /// Brings every digit below 2^32. Call before limbs() are added.
  void normalise();

 private:
  // Digit i is worth 2^(32 i - kBias); the last digit carries the sign. Behind the digits: counts of +inf, -inf and NaN.
  static constexpr int kBias = 1152, kDigits = 70;
  static constexpr size_t kPositive = kDigits, kNegative = kDigits + 1, kNan = kDigits + 2;
  std::array<int64_t, kDigits + 3> limbs_{};
  int64_t additions_ = 0;  // since normalise()
};

}  // namespace cria
