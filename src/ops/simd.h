// A vector of floats at the level being compiled: 8 with AVX2, 16 with AVX-512. Only for *_cpu.cc
// files. Loads and stores convert: storage may be f32, f16 or bf16, arithmetic is always f32.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "ops/isa.h"
#include "tensor/dtype.h"

#ifndef CRIA_ISA
#error "simd.h is for kernels (*_cpu.cc) only"
#endif

namespace cria::ops::CRIA_ISA {

#ifdef __AVX512F__
constexpr int64_t kLanes = 16;
using Vec = __m512;
using Mask = __mmask16;

static inline Vec zero() { return _mm512_setzero_ps(); }
static inline Vec set1(float x) { return _mm512_set1_ps(x); }
static inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
static inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
static inline Vec sqrt(Vec a) { return _mm512_sqrt_ps(a); }

/// The first `n` lanes (0 <= n; 16 and more mean all).
static inline Mask first(int64_t n) { return n >= kLanes ? Mask(0xffff) : Mask((1u << n) - 1); }
static inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
static inline Vec load(const bf16* p) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
static inline Vec load(const f16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
/// Lanes outside the mask read as 0 and touch no memory.
static inline Vec load(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
static inline Vec load(const bf16* p, Mask m) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
}
static inline Vec load(const f16* p, Mask m) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p));
}
static inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
static inline void store(float* p, Vec v, Mask m) { _mm512_mask_storeu_ps(p, m, v); }
/// In integers even where the processor has an instruction: that one turns denormals into zeros.
static inline __m256i to_bf16(Vec v) {
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r =
      _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const Mask nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  r = _mm512_mask_mov_epi32(r, nan,
                            _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40)));
  return _mm512_cvtepi32_epi16(r);
}
static inline void store(bf16* p, Vec v) { _mm256_storeu_si256((__m256i*)p, to_bf16(v)); }
static inline void store(bf16* p, Vec v, Mask m) { _mm256_mask_storeu_epi16(p, m, to_bf16(v)); }
static inline void store(f16* p, Vec v) {
  _mm256_storeu_si256((__m256i*)p,
                      _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void store(f16* p, Vec v, Mask m) {
  _mm256_mask_storeu_epi16(p, m, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/// Fixed-order horizontal sums: halves are added pairwise.
static inline float sum(Vec v) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
static inline float max_of(Vec v) { return _mm512_reduce_max_ps(v); }
static inline Vec select(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_ps(m, no, yes); }
static inline Vec round(Vec v) {
  return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// 2^n for whole n in [-126, 127].
static inline Vec exp2i(Vec n) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
#else
constexpr int64_t kLanes = 8;
using Vec = __m256;
using Mask = __m256i;

static inline Vec zero() { return _mm256_setzero_ps(); }
static inline Vec set1(float x) { return _mm256_set1_ps(x); }
static inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
static inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
static inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
static inline Vec sqrt(Vec a) { return _mm256_sqrt_ps(a); }

/// The first `n` lanes (0 <= n; 8 and more mean all).
static inline Mask first(int64_t n) {
  const int k = n >= kLanes ? static_cast<int>(kLanes) : static_cast<int>(n);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(k), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline Vec load(const bf16* p) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
static inline Vec load(const f16* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
/// Lanes outside the mask read as 0 and touch no memory.
static inline Vec load(const float* p, Mask m) { return _mm256_maskload_ps(p, m); }
static inline int lanes_of(Mask m) {
  return __builtin_popcount(_mm256_movemask_ps(_mm256_castsi256_ps(m)));
}
static inline __m128i load16(const void* p, Mask m) {
  alignas(16) uint16_t t[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  const int n = lanes_of(m);
  for (int i = 0; i < n; ++i) t[i] = ((const uint16_t*)p)[i];
  return _mm_load_si128((const __m128i*)t);
}
static inline Vec load(const bf16* p, Mask m) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(p, m)), 16));
}
static inline Vec load(const f16* p, Mask m) { return _mm256_cvtph_ps(load16(p, m)); }
static inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
static inline void store(float* p, Vec v, Mask m) { _mm256_maskstore_ps(p, m, v); }
static inline __m128i to_bf16(Vec v) {
  const __m256i u = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  __m256i r =
      _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
  r = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
  return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
static inline void store16(void* p, __m128i v, Mask m) {
  alignas(16) uint16_t t[8];
  _mm_store_si128((__m128i*)t, v);
  const int n = lanes_of(m);
  for (int i = 0; i < n; ++i) ((uint16_t*)p)[i] = t[i];
}
static inline void store(bf16* p, Vec v) { _mm_storeu_si128((__m128i*)p, to_bf16(v)); }
static inline void store(bf16* p, Vec v, Mask m) { store16(p, to_bf16(v), m); }
static inline void store(f16* p, Vec v) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void store(f16* p, Vec v, Mask m) {
  store16(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), m);
}
/// Fixed-order horizontal sums: halves are added pairwise.
static inline float sum(Vec v) {
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
static inline float max_of(Vec v) {
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}
static inline Vec select(Mask m, Vec yes, Vec no) {
  return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(m));
}
static inline Vec round(Vec v) {
  return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// 2^n for whole n in [-126, 127].
static inline Vec exp2i(Vec n) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
#endif

/// e^x to about 1 ulp on [-87, 88]; below it goes to a tiny number that is 0 for every use here,
/// above it saturates. NaN stays NaN (max and min return their second operand then). Range
/// reduction by ln 2 in two parts, then the degree-6 polynomial of Cephes' expf.
static inline Vec exp(Vec x) {
  x = min(set1(88.0f), max(set1(-87.33654f), x));
  const Vec n = round(mul(x, set1(1.44269504088896341f)));
  Vec r = fma(n, set1(-0.693359375f), x);
  r = fma(n, set1(2.12194440e-4f), r);
  Vec p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = fma(mul(p, r), r, add(r, set1(1.0f)));
  return mul(p, exp2i(n));
}

/// Stands for a mask with every lane set; loads and stores with it are the plain ones.
struct AllLanes {
  operator Mask() const { return first(kLanes); }  // NOLINT: serves wherever a Mask is asked for
};
template <class T>
static inline Vec load(const T* p, AllLanes) {
  return load(p);
}
template <class T>
static inline void store(T* p, Vec v, AllLanes) {
  store(p, v);
}

/// Calls body(i, mask) over [0, n) in steps of kLanes. Loads and stores take the mask. A body with
/// an `auto` mask gets AllLanes for the full steps and a Mask for the rest.
template <class Body>
static inline void for_lanes(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, AllLanes{});
  if (i < n) body(i, first(n - i));
}

/// Sums term(sum so far, i, mask), which returns the sum with its lanes added, over [0, n): in four
/// interleaved sums, so that additions need not wait for each other. The order depends on n only.
template <class Term>
static inline float sum_lanes(int64_t n, Term term) {
  Vec a = zero(), b = zero(), c = zero(), d = zero();
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = term(a, i, AllLanes{});
    b = term(b, i + kLanes, AllLanes{});
    c = term(c, i + 2 * kLanes, AllLanes{});
    d = term(d, i + 3 * kLanes, AllLanes{});
  }
  for (; i + kLanes <= n; i += kLanes) a = term(a, i, AllLanes{});
  if (i < n) b = term(b, i, first(n - i));
  return sum(add(add(a, b), add(c, d)));
}

/// A C++ type as a value.
template <class T>
struct Type {
  using type = T;
};

/// Calls body(Type<float>), body(Type<f16>) or body(Type<bf16>): whichever `dtype` is.
template <class Body>
static inline void with_type(DType dtype, Body body) {
  switch (dtype) {
    case DType::f16:
      return body(Type<f16>{});
    case DType::bf16:
      return body(Type<bf16>{});
    default:
      return body(Type<float>{});
  }
}

}  // namespace cria::ops::CRIA_ISA
