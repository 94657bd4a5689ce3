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
constexpr int64_t kRows = 16;
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
inline Floats small_ints(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
inline void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
#else
constexpr int64_t kRows = 8;
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

/// Where T rows of x are read.
struct Rows {
  const std::byte* numbers;
  const std::byte* sums;  // at the group
  int64_t stride;
  [[nodiscard]] Ints sum(int t) const;
};

#ifdef __AVX512VNNI__
inline Ints Rows::sum(int t) const { return _mm512_set1_epi32(four_numbers(sums + t * stride)); }

/// dots[t] = the sum over a group of w's numbers times those of row t, minus zero times the sum of row t's.
template <class F, int T>
inline __attribute__((always_inline)) void group_dots(const std::byte* w, const Rows& x,
                                                      Ints (&dots)[T]) {
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t) dots[t] = F::kZero ? x.sum(t) : _mm512_setzero_si512();
  if constexpr (F::kNibbles) {
    const Ints low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int64_t k = 0; k < F::kGroup; k += 8) {
      const Ints both = _mm512_loadu_si512(w + k * 8);
      const Ints w0 = _mm512_and_si512(both, low);
      const Ints w1 = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t)
        dots[t] = _mm512_dpbusd_epi32(
            dots[t], w0, _mm512_set1_epi32(four_numbers(x.numbers + t * x.stride + k)));
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t)
        dots[t] = _mm512_dpbusd_epi32(
            dots[t], w1, _mm512_set1_epi32(four_numbers(x.numbers + t * x.stride + k + 4)));
    }
  } else {
#pragma GCC unroll 8
    for (int64_t k = 0; k < F::kGroup; k += 4) {
      const Ints v = _mm512_loadu_si512(w + k * 16);
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t)
        dots[t] = _mm512_dpbusd_epi32(
            dots[t], v, _mm512_set1_epi32(four_numbers(x.numbers + t * x.stride + k)));
    }
  }
}
#else
inline Ints Rows::sum(int t) const { return _mm256_set1_epi32(four_numbers(sums + t * stride)); }

/// Pairs of products are added in 16 bits: of numbers up to kMost times 127, so many pairs fit.
template <class F>
constexpr int64_t kPairsThatFit = 32767 / (2 * F::kMost * 127);

/// As above. A line of w holds the 16 rows of a panel; `w` points at this half's 8 rows of the first line.
template <class F, int T>
inline __attribute__((always_inline)) void group_dots(const std::byte* w, const Rows& x,
                                                      Ints (&dots)[T]) {
  const Ints ones = _mm256_set1_epi16(1);
  const auto numbers = [&](int t, int64_t k) {
    return _mm256_set1_epi32(four_numbers(x.numbers + t * x.stride + k));
  };
  if constexpr (F::kMost == 255) {
    // Signed numbers: the sign goes over to x, as a product of an unsigned and a signed number is what the processor has.
    const Ints top = _mm256_set1_epi8(-128);
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) dots[t] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int64_t k = 0; k < F::kGroup; k += 4) {
      const Ints v = _mm256_xor_si256(_mm256_loadu_si256((const __m256i*)(w + k * 16)), top);
      const Ints size = _mm256_abs_epi8(v);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const Ints p = _mm256_maddubs_epi16(size, _mm256_sign_epi8(numbers(t, k), v));
        dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(p, ones));
        pin(dots[t]);
      }
    }
    return;
  }
  static_assert(F::kMost == 255 || kPairsThatFit<F> > 0);
  constexpr int64_t kRun = kPairsThatFit<F> >= 8   ? 32
                           : kPairsThatFit<F> >= 4 ? 16
                                                   : 8;  // numbers summed in 16 bits
  const Ints low = _mm256_set1_epi8(15);
#pragma GCC unroll 4
  for (int64_t begin = 0; begin < F::kGroup; begin += kRun) {
    Ints pairs[T];
#pragma GCC unroll 8
    for (int64_t k = begin; k < begin + kRun; k += 4) {
      Ints v;
      if constexpr (F::kNibbles) {
        v = _mm256_loadu_si256((const __m256i*)(w + k / 8 * 64));
        v = _mm256_and_si256(k % 8 == 0 ? v : _mm256_srli_epi16(v, 4), low);
      } else {
        v = _mm256_loadu_si256((const __m256i*)(w + k * 16));
      }
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const Ints p = _mm256_maddubs_epi16(v, numbers(t, k));
        pairs[t] = k == begin ? p : _mm256_add_epi16(pairs[t], p);
        pin(pairs[t]);
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const Ints sum = _mm256_madd_epi16(pairs[t], ones);
      dots[t] = begin == 0 ? sum : _mm256_add_epi32(dots[t], sum);
    }
  }
  if constexpr (F::kZero) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) dots[t] = _mm256_add_epi32(dots[t], x.sum(t));
  }
}
#endif

}  // namespace
}  // namespace cria::ops::CRIA_ISA
