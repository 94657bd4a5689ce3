// A fast hash of short byte strings for the tables of a vocabulary. Seeded anew in every process,
// so that no file can be made whose entries all collide; nothing visible depends on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace cria {

/// The same value throughout a process.
uint64_t hash_seed();

/// Product of two words, both halves folded together: every input bit reaches every output bit.
inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_bytes(std::string_view bytes, uint64_t seed) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15, kOther = 0xa0761d6478bd642f;
  const auto word = [](const char* p) {
    uint64_t w = 0;
    std::memcpy(&w, p, 8);
    return w;
  };
  const char* p = bytes.data();
  size_t left = bytes.size();
  uint64_t h = seed ^ (left * kOther);
  for (; left > 8; left -= 8, p += 8) h = hash_mix(h ^ word(p), kOdd ^ seed);
  uint64_t tail = 0;
  if (left == 8) {
    tail = word(p);
  } else if (left >= 4) {  // two overlapping halves
    uint32_t low = 0, high = 0;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + left - 4, 4);
    tail = static_cast<uint64_t>(high) << 32 | low;
  } else if (left > 0) {
    const auto byte = [&](size_t i) {
      return static_cast<uint64_t>(static_cast<unsigned char>(p[i]));
    };
    tail = byte(0) << 16 | byte(left / 2) << 8 | byte(left - 1);
  }
  return hash_mix(h ^ tail, kOther ^ seed);
}

}  // namespace cria
