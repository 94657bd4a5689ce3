// Random numbers as pure functions of (seed, stream, index): no state to save, the same on every
// layout.
#pragma once

#include <cmath>
#include <cstdint>

namespace cria {

/// A 64-bit hash of three words (SplitMix64's finaliser, chained).
inline uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto mix = [](uint64_t z) {
    z += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  };
  return mix(mix(mix(seed) ^ stream) ^ index);
}
/// Uniform in [0, 1).
inline double random_unit(uint64_t seed, uint64_t stream, uint64_t index) {
  return static_cast<double>(random_bits(seed, stream, index) >> 11) * 0x1p-53;
}
/// Standard normal, by Box and Muller's transform of two draws.
inline double random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
  const double u = 1.0 - random_unit(seed, stream, 2 * index);
  const double v = random_unit(seed, stream, 2 * index + 1);
  return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
}

}  // namespace cria
