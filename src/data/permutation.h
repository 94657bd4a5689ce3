// A shuffled order that needs no memory: a bijection of [0, n) as a pure function of a key.
#pragma once

#include <bit>
#include <cstdint>

#include "base/random.h"

namespace cria {

/// Position -> row. A Feistel network on the smallest even number of bits that holds n, walked until
/// the value falls below n (fewer than four steps on average once n > 64). O(1) in time and memory.
class Permutation {
 public:
  /// n is 1 to 2^62.
  Permutation(uint64_t n, uint64_t seed, uint64_t epoch)
      : n_(n), half_bits_(half_bits_of(n)), seed_(random_bits(seed, kStream, epoch)) {}

  /// position < n.
  [[nodiscard]] uint64_t operator()(uint64_t position) const {
    uint64_t x = position;
    do {
      x = mix(x);
    } while (x >= n_);
    return x;
  }

 private:
  static constexpr uint64_t kStream = 0x7368756666;  // any constant of its own
  static constexpr uint64_t kRounds = 8;

  // At least 3: smaller halves would shuffle tiny sets badly.
  static int half_bits_of(uint64_t n) {
    const int bits = static_cast<int>(std::bit_width(n - 1));
    return bits < 6 ? 3 : (bits + 1) / 2;
  }
  [[nodiscard]] uint64_t mix(uint64_t x) const {
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    uint64_t left = x >> half_bits_, right = x & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t next = left ^ (random_bits(seed_, round, right) & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  uint64_t n_;
  int half_bits_;
  uint64_t seed_;
};

}  // namespace cria
