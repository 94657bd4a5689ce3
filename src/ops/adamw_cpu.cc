// The optimizer's step in one pass over memory, one instruction-set level.
#include "ops/adamw_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {

// The exact master in two halves. Adding 0x8000 to the bits rounds the magnitude half up in the
// upper 16; what is left, bits - upper << 16, lies in [-0x8000, 0x7fff].
#ifdef __AVX512F__
static inline Vec join(const bf16* weight, const int16_t* low, Mask m) {
  const __m512i rest = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(m, low));
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(load(weight, m)), rest));
}
static inline void split(Vec master, bf16* weight, int16_t* low, Mask m) {
  const __m512i bits = _mm512_castps_si512(master);
  const __m512i upper = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x8000)), 16);
  _mm256_mask_storeu_epi16(weight, m, _mm512_cvtepi32_epi16(upper));
  _mm256_mask_storeu_epi16(low, m, _mm512_cvtepi32_epi16(bits));  // modulo 2^16
}
#else
static inline Vec join_halves(Vec upper, __m128i low) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(upper), _mm256_cvtepi16_epi32(low)));
}
static inline Vec join(const bf16* weight, const int16_t* low, AllLanes) {
  return join_halves(load(weight), _mm_loadu_si128((const __m128i*)low));
}
static inline Vec join(const bf16* weight, const int16_t* low, Mask m) {
  return join_halves(load(weight, m), load16(low, m));
}
struct Halves {
  __m128i upper, low;
};
static inline Halves halves(Vec master) {
  const __m256i bits = _mm256_castps_si256(master);
  const __m256i upper = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x8000)), 16);
  const __m256i low = _mm256_and_si256(bits, _mm256_set1_epi32(0xffff));  // modulo 2^16
  return {_mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1)),
          _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1))};
}
static inline void split(Vec master, bf16* weight, int16_t* low, AllLanes) {
  const Halves h = halves(master);
  _mm_storeu_si128((__m128i*)weight, h.upper);
  _mm_storeu_si128((__m128i*)low, h.low);
}
static inline void split(Vec master, bf16* weight, int16_t* low, Mask m) {
  const Halves h = halves(master);
  store16(weight, h.upper, m);
  store16(low, h.low, m);
}
#endif

// Where the f32 value of a weight lives: get reads it, put writes it and what depends on it.
template <class T>
struct Alone {
  T* weight;
  template <class M>
  Vec get(int64_t i, M m) const {
    return load(weight + i, m);
  }
  template <class M>
  void put(int64_t i, Vec w, M m) const {
    store(weight + i, w, m);
  }
};
template <class T>
struct WithMaster {
  T* weight;
  float* master;
  template <class M>
  Vec get(int64_t i, M m) const {
    return load(master + i, m);
  }
  template <class M>
  void put(int64_t i, Vec w, M m) const {
    store(master + i, w, m);
    store(weight + i, w, m);
  }
};
struct WithLow {
  bf16* weight;
  int16_t* low;
  template <class M>
  Vec get(int64_t i, M m) const {
    return join(weight + i, low + i, m);
  }
  template <class M>
  void put(int64_t i, Vec w, M m) const {
    split(w, weight + i, low + i, m);
  }
};

template <class Place>
static void step_run(Place place, const AdamWRun& run, const AdamWFactors& f) {
  const Vec b1 = set1(f.beta1), rest1 = set1(1 - f.beta1);
  const Vec b2 = set1(f.beta2), rest2 = set1(1 - f.beta2);
  const Vec m_scale = set1(f.m_scale), root_v_scale = set1(f.root_v_scale), eps = set1(f.eps);
  const Vec decay = set1(f.weight_decay), down = set1(-f.lr), grad_scale = set1(f.grad_scale);
  for_lanes(run.n, [&](int64_t i, auto mask) {
    const Vec g = mul(load(run.grad + i, mask), grad_scale);
    const Vec m = fma(b1, load(run.m + i, mask), mul(rest1, g));
    const Vec v = fma(b2, load(run.v + i, mask), mul(rest2, mul(g, g)));
    store(run.m + i, m, mask);
    store(run.v + i, v, mask);
    const Vec w = place.get(i, mask);
    const Vec step = div(mul(m, m_scale), fma(sqrt(v), root_v_scale, eps));
    place.put(i, fma(down, fma(decay, w, step), w), mask);
  });
}

static void step(const AdamWRun& run, const AdamWFactors& f) {
  if (run.low != nullptr) {
    return step_run(WithLow{static_cast<bf16*>(run.weight), run.low}, run, f);
  }
  with_type(run.weight_type, [&](auto t) {
    using T = typename decltype(t)::type;
    auto* weight = static_cast<T*>(run.weight);
    if (run.master != nullptr) {
      step_run(WithMaster<T>{weight, run.master}, run, f);
    } else {
      step_run(Alone<T>{weight}, run, f);
    }
  });
}

static void split_run(const float* f32, bf16* weight, int16_t* low, int64_t n) {
  for_lanes(n, [&](int64_t i, auto m) { split(load(f32 + i, m), weight + i, low + i, m); });
}

static void join_run(const bf16* weight, const int16_t* low, float* f32, int64_t n) {
  for_lanes(n, [&](int64_t i, auto m) { store(f32 + i, join(weight + i, low + i, m), m); });
}

extern const AdamWKernels adamw_kernels = {step, split_run, join_run};

}  // namespace cria::ops::CRIA_ISA
