#include "base/exact_sum.h"

#include <cmath>
#include <limits>

namespace cria {
namespace {

constexpr int64_t kMostAdditions = int64_t{1} << 30;  // a digit grows by less than 2^32 each time
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The bits of a magnitude above `drop`, rounded to nearest, ties to even.
uint64_t rounded(unsigned __int128 bits, int drop, bool rest) {
  const auto kept = static_cast<uint64_t>(bits >> drop);
  const unsigned __int128 below = bits & ((static_cast<unsigned __int128>(1) << drop) - 1);
  const unsigned __int128 half = static_cast<unsigned __int128>(1) << (drop - 1);
  const bool up = below > half || (below == half && (rest || (kept & 1) != 0));
  return kept + (up ? 1 : 0);
}

int bit_width(unsigned __int128 v) {
  int width = 0;
  for (; v != 0; v >>= 1) ++width;
  return width;
}

}  // namespace

void ExactSum::add(double value) {
  if (!std::isfinite(value)) {
    ++limbs_[std::isnan(value) ? kNan : value > 0 ? kPositive : kNegative];
    return;
  }
  if (value == 0) return;
  int exponent = 0;
  // |value| = mantissa * 2^(exponent - 53), mantissa an integer below 2^53.
  const double fraction = std::frexp(std::abs(value), &exponent);
  const auto mantissa = static_cast<uint64_t>(std::ldexp(fraction, 53));
  const int place = exponent - 53 + kBias;
  auto digits = static_cast<unsigned __int128>(mantissa) << (place % 32);
  const int64_t sign = value > 0 ? 1 : -1;
  for (auto i = static_cast<size_t>(place / 32); digits != 0; ++i, digits >>= 32)
    limbs_[i] += sign * static_cast<int64_t>(static_cast<uint32_t>(digits));
  if (++additions_ == kMostAdditions) normalise();
}

void ExactSum::merge(const ExactSum& other) {
  ExactSum copy = other;
  copy.normalise();
  normalise();
  for (size_t i = 0; i < limbs_.size(); ++i) limbs_[i] += copy.limbs_[i];
  normalise();
}

void ExactSum::normalise() {
  int64_t carry = 0;
  for (size_t i = 0; i + 1 < kDigits; ++i) {
    const int64_t digit = limbs_[i] + carry;
    carry = digit >> 32;  // rounds down: the digit left is never negative
    limbs_[i] = digit - (carry << 32);
  }
  limbs_[kDigits - 1] += carry;
  additions_ = 0;
}

double ExactSum::value() const {
  const bool positive = limbs_[kPositive] > 0, negative = limbs_[kNegative] > 0;
  if (limbs_[kNan] > 0 || (positive && negative))
    return std::numeric_limits<double>::quiet_NaN();
  if (positive) return kInfinity;
  if (negative) return -kInfinity;
  ExactSum n = *this;
  n.normalise();
  const bool below_zero = n.limbs_[kDigits - 1] < 0;
  if (below_zero) {
    for (size_t i = 0; i < kDigits; ++i) n.limbs_[i] = -n.limbs_[i];
    n.normalise();
  }
  int top = kDigits - 1;
  while (top >= 0 && n.limbs_[static_cast<size_t>(top)] == 0) --top;
  if (top < 0) return 0;
  // Three digits hold at least 65 bits of the number; what lies below them matters only as "more than nothing".
  const int lowest = top >= 2 ? top - 2 : 0;
  unsigned __int128 bits = 0;
  for (int i = top; i >= lowest; --i)
    bits = (bits << 32) + static_cast<unsigned __int128>(n.limbs_[static_cast<size_t>(i)]);
  bool rest = false;
  for (int i = 0; i < lowest; ++i) rest |= n.limbs_[static_cast<size_t>(i)] != 0;
  const int drop = bit_width(bits) - 53;
  const double magnitude =
      drop <= 0 ? std::ldexp(static_cast<double>(static_cast<uint64_t>(bits)), 32 * lowest - kBias)
                : std::ldexp(static_cast<double>(rounded(bits, drop, rest)),
                             32 * lowest + drop - kBias);
  return below_zero ? -magnitude : magnitude;
}

}  // namespace cria
