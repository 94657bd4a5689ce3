// Digits of the sum: a double touches three of them; carries are moved up once in 2^28 additions.
#include "base/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace cria {
namespace {

constexpr int64_t kMostPending = int64_t{1} << 28;
constexpr int64_t kDigitMask = 0xffffffff;
constexpr int kLowestExponent = -1074;  // of the smallest double

}  // namespace

void ExactSum::add(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  const auto exponent = static_cast<int>(bits >> 52 & 0x7ff);
  auto fraction = static_cast<int64_t>(bits & 0xfffffffffffff);
  if (exponent == 0x7ff) {
    ++limbs_[static_cast<size_t>(fraction != 0 ? kNan : x > 0 ? kPlusInfinity : kMinusInfinity)];
    return;
  }
  if (exponent > 0) fraction |= int64_t{1} << 52;
  const int position = exponent > 0 ? exponent - 1 : 0;  // of the fraction's last bit
  const int64_t low = (fraction & kDigitMask) << position % 32;
  const int64_t high = (fraction >> 32) << position % 32;
  const int64_t sign = bits >> 63 != 0 ? -1 : 1;
  int64_t* digit = &limbs_[static_cast<size_t>(position / 32)];
  digit[0] += sign * (low & kDigitMask);
  digit[1] += sign * ((low >> 32) + (high & kDigitMask));
  digit[2] += sign * (high >> 32);
  if (++pending_ >= kMostPending) normalise();
}

void ExactSum::merge(const ExactSum& other) {
  // Both are below 2^28 additions, so the digits' sum is below 2^62.
  const int64_t pending = pending_ + other.pending_ + 1;
  for (size_t i = 0; i < limbs_.size(); ++i) limbs_[i] += other.limbs_[i];
  pending_ = pending;
  if (pending_ >= kMostPending) normalise();
}

std::span<int64_t> ExactSum::limbs() {
  normalise();
  pending_ = int64_t{1} << 20;  // what the caller may make of them
  return limbs_;
}

void ExactSum::normalise() {
  int64_t carry = 0;
  for (size_t i = 0; i + 1 < kDigits; ++i) {
    const int64_t sum = limbs_[i] + carry;
    limbs_[i] = sum & kDigitMask;
    carry = sum >> 32;
  }
  limbs_[kDigits - 1] += carry;
  pending_ = 0;
}

double ExactSum::value() const {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const bool plus = limbs_[kPlusInfinity] != 0, minus = limbs_[kMinusInfinity] != 0;
  if (limbs_[kNan] != 0 || (plus && minus)) return std::numeric_limits<double>::quiet_NaN();
  if (plus || minus) return plus ? infinity : -infinity;

  ExactSum sum = *this;
  sum.normalise();
  const bool negative = sum.limbs_[kDigits - 1] < 0;
  if (negative) {
    for (size_t i = 0; i < kDigits; ++i) sum.limbs_[i] = -sum.limbs_[i];
    sum.normalise();
  }
  int top = kDigits - 1;
  while (top > 0 && sum.limbs_[static_cast<size_t>(top)] == 0) --top;
  const auto digit = [&](int i) {
    return static_cast<uint64_t>(sum.limbs_[static_cast<size_t>(i)]);
  };
  const int last = top * 32 + static_cast<int>(std::bit_width(digit(top))) - 1;
  const auto bit = [&](int i) { return digit(i / 32) >> i % 32 & 1; };
  if (last > 1023 - kLowestExponent) return negative ? -infinity : infinity;
  const int lowest = std::max(0, last - 52);  // of the bits that a double keeps
  uint64_t kept = 0;
  for (int i = last; i >= lowest; --i) kept = kept << 1 | bit(i);
  if (lowest > 0 && bit(lowest - 1) != 0) {
    bool more = false;
    for (int i = 0; i < lowest - 1; ++i) more = more || bit(i) != 0;
    if (more || (kept & 1) != 0) ++kept;
  }
  const double size = std::ldexp(static_cast<double>(kept), lowest + kLowestExponent);
  return negative ? -size : size;
}

}  // namespace cria
