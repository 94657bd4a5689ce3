// How the decode product reads w, and the order of x that goes with it. Only for gemv_cpu.cc. Two
// vectors are made of each piece of w:
//   Wide   f32 and f16: neighbouring vectors
//   Split  bf16: the even and the odd numbers of one load, two cheap instructions; x is kept in
//          that order
//   Dots   bf16 where x is bf16 too and the level multiplies pairs: as they lie, two k per lane
#pragma once

#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {
namespace {

constexpr int64_t kStep = 4 * kLanes;  // numbers; whole cache lines of w, whatever its type

/// Up to kStep numbers as f32, padded with 0.
template <class T>
inline void widen_step(const T* from, int64_t left, float* to) {
  for (int64_t i = 0; i < kStep; i += kLanes) {
    store(to + i, left - i >= kLanes ? load(from + i)
                  : left > i         ? load(from + i, first(left - i))
                                     : zero());
  }
}
inline void widen_step(const void* from, DType dtype, int64_t k, int64_t depth, float* to) {
  switch (dtype) {
    case DType::bf16:
      return widen_step(static_cast<const bf16*>(from) + k, depth - k, to);
    case DType::f16:
      return widen_step(static_cast<const f16*>(from) + k, depth - k, to);
    default:
      return widen_step(static_cast<const float*>(from) + k, depth - k, to);
  }
}

template <class T>
struct Wide {
  using Element = T;
  static constexpr int64_t kVectors = 4;  // of prepared x per step
  static inline __attribute__((always_inline)) void load_two(const T* w, int64_t v, Vec& w0,
                                                             Vec& w1) {
    w0 = load(w + v * kLanes);
    w1 = load(w + (v + 1) * kLanes);
  }
  static Vec multiply_add(Vec w, Vec x, Vec sum) { return fma(w, x, sum); }
  static void prepare(const void* from, DType dtype, int64_t depth, float* to) {
    for (int64_t k = 0; k < depth; k += kStep) widen_step(from, dtype, k, depth, to + k);
  }
};

#ifdef __AVX512F__
inline void split_two(const bf16* w, Vec& even, Vec& odd) {
  const __m512i both = _mm512_loadu_si512(w);
  even = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(-65536)));
}
inline void split_floats(float* x) {
  const Vec a = load(x), b = load(x + kLanes);
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  store(x, _mm512_permutex2var_ps(a, even, b));
  store(x + kLanes, _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b));
}
#else
inline void split_two(const bf16* w, Vec& even, Vec& odd) {
  const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
  even = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
  odd = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(-65536)));
}
inline Vec in_order(Vec halves) {
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(halves), 0xd8));
}
inline void split_floats(float* x) {
  const Vec a = load(x), b = load(x + kLanes);
  store(x, in_order(_mm256_shuffle_ps(a, b, 0x88)));
  store(x + kLanes, in_order(_mm256_shuffle_ps(a, b, 0xdd)));
}
#endif

struct Split {
  using Element = bf16;
  static constexpr int64_t kVectors = 4;
  static inline __attribute__((always_inline)) void load_two(const bf16* w, int64_t v, Vec& w0,
                                                             Vec& w1) {
    split_two(w + v * kLanes, w0, w1);
  }
  static Vec multiply_add(Vec w, Vec x, Vec sum) { return fma(w, x, sum); }
  static void prepare(const void* from, DType dtype, int64_t depth, float* to) {
    Wide<float>::prepare(from, dtype, depth, to);
    for (int64_t k = 0; k < depth; k += 2 * kLanes) split_floats(to + k);
  }
};

#ifdef __AVX512BF16__
struct Dots {
  using Element = bf16;
  static constexpr int64_t kVectors = 2;
  static inline __attribute__((always_inline)) void load_two(const bf16* w, int64_t /*v*/, Vec& w0,
                                                             Vec& w1) {
    w0 = _mm512_loadu_ps(w);
    w1 = _mm512_loadu_ps(w + 2 * kLanes);
  }
  static Vec multiply_add(Vec w, Vec x, Vec sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)x);
  }
  static void prepare(const void* from, DType /*dtype*/, int64_t depth, float* to) {
    const auto* const x = static_cast<const bf16*>(from);
    const int64_t padded = (depth + kStep - 1) / kStep * kStep;
    for (int64_t k = 0; k < padded; k += 2 * kLanes, to += kLanes) {
      const int64_t left = depth - k;
      const __mmask32 m = left >= 32 ? ~__mmask32(0)
                          : left > 0 ? (__mmask32(1) << left) - 1
                                     : __mmask32(0);
      store(to, _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(m, x + k)));
    }
  }
};
#endif

/// Calls use.with<Format>() for these dtypes.
template <class Use>
inline void choose_format(DType x, DType w, const Use& use) {
#ifdef __AVX512BF16__
  if (x == DType::bf16 && w == DType::bf16) return use.template with<Dots>();
#endif
  (void)x;
  switch (w) {
    case DType::bf16:
      return use.template with<Split>();
    case DType::f16:
      return use.template with<Wide<f16>>();
    default:
      return use.template with<Wide<float>>();
  }
}

}  // namespace
}  // namespace cria::ops::CRIA_ISA
