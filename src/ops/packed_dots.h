// Dot products of whole numbers, as the level being compiled has them: 16 rows of w at once with VNNI, else 8. Only for
// packed_cpu.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "ops/isa.h"
#include "ops/packed_layout.h"

namespace cria::ops::CRIA_ISA {
namespace {

#ifdef __AVX512VNNI__
constexpr int64_t kRows = 16, kParts = 1;  // rows of a vector; vectors of a panel
using Ints = __m512i;
using Floats = __m512;
inline Floats no_floats() { return _mm512_setzero_ps(); }
inline Floats to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats subtract_product(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }
inline Floats everywhere(float x) { return _mm512_set1_ps(x); }
inline Floats halves(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
inline Floats load_floats(const std::byte* p) { return _mm512_loadu_ps(p); }
inline Floats small_ints(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
inline void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
#else
constexpr int64_t kRows = 8, kParts = 2;
using Ints = __m256i;
using Floats = __m256;
inline Floats no_floats() { return _mm256_setzero_ps(); }
inline Floats to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats subtract_product(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(a, b, c); }
inline Floats everywhere(float x) { return _mm256_set1_ps(x); }
inline Floats halves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
}
inline Floats load_floats(const std::byte* p) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
}
inline Floats small_ints(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
inline void store_floats(float* p, Floats v) { _mm256_storeu_ps(p, v); }
#endif

inline int32_t four_numbers(const std::byte* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}

/// Sums stay where they are: g++ would otherwise add them up as a tree, which takes more registers than there are.
#ifdef __AVX512VNNI__
inline __attribute__((always_inline)) void pin(Ints& v) { asm("" : "+v"(v)); }
#else
inline __attribute__((always_inline)) void pin(Ints& v) { asm("" : "+x"(v)); }
#endif

/// As many numbers of T rows of x as make one dot product.
struct Rows {
  const std::byte* numbers;  // i8 [dot / 4][T][4]
  const std::byte* sums;     // i32 [T]
};

#ifdef __AVX512VNNI__
inline Ints everywhere(const std::byte* four) { return _mm512_set1_epi32(four_numbers(four)); }

/// dots[0][t] = the sum over F::kDot of w's numbers times those of row t, minus zero times the sum of row t's.
template <class F, int T>
inline __attribute__((always_inline)) void group_dots(const std::byte* w, const Rows& x,
                                                      Ints (&dots)[1][T]) {
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t)
    dots[0][t] = F::kZero ? everywhere(x.sums + t * 4) : _mm512_setzero_si512();
  if constexpr (F::kNibbles) {
    const Ints low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int64_t k = 0; k < F::kDot; k += 8) {
      const Ints both = _mm512_loadu_si512(w + k * 8);
      const Ints w0 = _mm512_and_si512(both, low);
      const Ints w1 = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t)
        dots[0][t] = _mm512_dpbusd_epi32(dots[0][t], w0, everywhere(x.numbers + k * T + t * 4));
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t)
        dots[0][t] =
            _mm512_dpbusd_epi32(dots[0][t], w1, everywhere(x.numbers + (k + 4) * T + t * 4));
    }
  } else {
#pragma GCC unroll 8
    for (int64_t k = 0; k < F::kDot; k += 4) {
      const Ints v = _mm512_loadu_si512(w + k * 16);
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t)
        dots[0][t] = _mm512_dpbusd_epi32(dots[0][t], v, everywhere(x.numbers + k * T + t * 4));
    }
  }
}
#else
inline Ints everywhere(const std::byte* four) { return _mm256_set1_epi32(four_numbers(four)); }
inline Ints half_line(const std::byte* w, int half) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + half * 32));
}

/// What a sum in 16 bits of pairs of products comes to, times `factor`, on top of `sum`.
inline Ints widen_onto(Ints sum, Ints pairs, int factor) {
  return _mm256_add_epi32(
      sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(static_cast<int16_t>(factor))));
}

inline __attribute__((always_inline)) void add_pairs(Ints& sum, Ints w, Ints x, bool begins) {
  const Ints p = _mm256_maddubs_epi16(w, x);
  sum = begins ? p : _mm256_add_epi16(sum, p);
  pin(sum);
}

/// As above, of the two halves of the panel. The processor multiplies unsigned by signed bytes and adds pairs of products in 16
/// bits, where numbers below 16 leave room for 8 such sums, those below 32 for 4 and those below 64 for 2. Bytes are taken as
/// two numbers below 16: faster than giving the weight's sign to x, which also needs a multiplier for each pair.
template <class F, int T>
inline __attribute__((always_inline)) void group_dots(const std::byte* w, const Rows& x,
                                                      Ints (&dots)[2][T]) {
  const Ints low = _mm256_set1_epi8(15);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
    dots[0][t] = dots[1][t] = F::kZero ? everywhere(x.sums + t * 4) : _mm256_setzero_si256();
  if constexpr (F::kMost == 255) {
    Ints sums[2][2][T];  // of the low and the high halves of bytes
#pragma GCC unroll 8
    for (int64_t k = 0; k < F::kDot; k += 4) {
      Ints parts[2][2];
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const Ints v = half_line(w + k * 16, h);
        parts[0][h] = _mm256_and_si256(v, low);
        parts[1][h] = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
      }
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const Ints v = everywhere(x.numbers + k * T + t * 4);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          add_pairs(sums[0][h][t], parts[0][h], v, k == 0);
          add_pairs(sums[1][h][t], parts[1][h], v, k == 0);
        }
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h)
        dots[h][t] = widen_onto(widen_onto(dots[h][t], sums[0][h][t], 1), sums[1][h][t], 16);
    }
    return;
  }
  constexpr int64_t kRun = F::kMost == 15   ? 32
                           : F::kMost == 31 ? 16
                                            : 8;  // numbers summed in 16 bits
#pragma GCC unroll 4
  for (int64_t begin = 0; begin < F::kDot; begin += kRun) {
    Ints sums[2][T];
#pragma GCC unroll 8
    for (int64_t k = begin; k < begin + kRun; k += 4) {
      Ints v[2];
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        if constexpr (F::kNibbles) {
          v[h] = half_line(w + k / 8 * 64, h);
          v[h] = _mm256_and_si256(k % 8 == 0 ? v[h] : _mm256_srli_epi16(v[h], 4), low);
        } else {
          v[h] = half_line(w + k * 16, h);
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const Ints four = everywhere(x.numbers + k * T + t * 4);
        add_pairs(sums[0][t], v[0], four, k == begin);
        add_pairs(sums[1][t], v[1], four, k == begin);
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      dots[0][t] = widen_onto(dots[0][t], sums[0][t], 1);
      dots[1][t] = widen_onto(dots[1][t], sums[1][t], 1);
    }
  }
}
#endif

}  // namespace
}  // namespace cria::ops::CRIA_ISA
