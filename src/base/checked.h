// Size arithmetic on numbers that come from files: 64-bit, unsigned, overflow is an answer and not
// an accident.
#pragma once

#include <cstdint>
#include <optional>

namespace cria {

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t r = 0;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}
inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t r = 0;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}
/// `x` rounded up to a multiple of `unit` (a power of two), or nothing when that overflows.
inline std::optional<uint64_t> checked_round_up(uint64_t x, uint64_t unit) {
  const auto sum = checked_add(x, unit - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(unit - 1);
}

}  // namespace cria
