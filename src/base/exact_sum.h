// Sums of doubles without rounding, so that order and grouping cannot change the result.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace cria {

/// A fixed-point number wide enough for every double: digits of 32 bits, from 2^-1074 upwards, each
/// in an int64 so that carries can wait. Additions are exact; value() rounds once. Processes that
/// each summed a part add their limbs as integers and get the same bits however the parts were cut.
class ExactSum {
 public:
  static constexpr int kDigits = 68;  // the last one is for carries and holds the sign
  static constexpr int kNan = kDigits, kPlusInfinity = kDigits + 1, kMinusInfinity = kDigits + 2;
  static constexpr int kLimbs = kDigits + 3;  // counts of what is no number stand behind the digits

  /// Constant time. NaN and infinities are counted beside the sum.
  void add(double x);
  void merge(const ExactSum& other);

  /// The whole state as integers, normalised: limb-wise sums over up to 2^20 ExactSums do not
  /// overflow, and may be written back here (an all-reduce in place).
  std::span<int64_t> limbs();

  /// The sum rounded to the nearest double, ties to even; infinite beyond the range. NaN when a NaN
  /// or infinities of both signs were added, else an infinity that was added. Nothing sums to +0.
  double value() const;

 private:
  void normalise();

  std::array<int64_t, kLimbs> limbs_{};
  int64_t pending_ = 0;  // every digit's size is below (pending_ + 1) * 2^33
};

}  // namespace cria
