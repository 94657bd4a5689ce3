// The two products of a decode step, which read keys and values once, straight from the cache.
// Loads are spread evenly between the arithmetic: that keeps the processor's own prefetching
// going, where phases of loading and of calculating wait for each other. Only for *_cpu.cc files.
#pragma once

#include "ops/attention_tiles.h"

namespace cria::ops::CRIA_ISA {

constexpr int64_t kKeyGroup = 16;  // keys whose rows are transposed together, in registers
constexpr int kStreamHeads = 8;    // heads that share one pass
constexpr int64_t kVecsOfGroup = kKeyGroup / kLanes;

/// Eight elements, or one, of any dtype.
static inline __m256 load8(const float* p) { return _mm256_loadu_ps(p); }
static inline __m256 load8(const bf16* p) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
static inline __m256 load8(const f16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
}
static inline float to_float(float x) { return x; }
static inline float to_float(bf16 x) {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(x.bits) << 16)));
}
static inline float to_float(f16 x) { return _cvtsh_ss(x.bits); }

/// Elements d .. d + 7 of 16 rows, as 8 vectors of 16 keys.
template <class T>
static inline void transposed_keys(const T* const rows[kKeyGroup], int64_t d,
                                   Vec to[8][kVecsOfGroup]) {
  __m256 low[8], high[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) low[i] = load8(rows[i] + d), high[i] = load8(rows[8 + i] + d);
  transpose8(low);
  transpose8(high);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
#ifdef __AVX512F__
    to[i][0] = _mm512_insertf32x8(_mm512_castps256_ps512(low[i]), high[i], 1);
#else
    to[i][0] = low[i], to[i][1] = high[i];
#endif
  }
}

/// Asks for `count` elements from `from` on. The rows of a group are read side by side, which the
/// processor does not recognise as a stream; asking for the next group's memory in order is one.
template <class T>
static inline void prefetch(const T* from, int64_t count) {
  const char* const p = reinterpret_cast<const char*>(from);
  for (int64_t at = 0; at < count * static_cast<int64_t>(sizeof(T)); at += 64) {
    _mm_prefetch(p + at, _MM_HINT_T0);
  }
}

/// scores[h, key] = sum_d q[h, d] * k[key, d], d in ascending order as in product().
///   q rows `padded` apart, scores rows kKeyBlock apart
template <class T, int kHeads>
static void stream_scores(const T* k, int64_t stride, int64_t keys, int64_t head_dim,
                          const float* q, float* scores) {
  const int64_t padded = padded_dim(head_dim);
  for (int64_t key = 0; key < keys; key += kKeyGroup) {
    const T* rows[kKeyGroup];
    // Past the last key its row stands in: there may be no memory behind it.
    for (int64_t i = 0; i < kKeyGroup; ++i) {
      rows[i] = k + (key + i < keys ? key + i : keys - 1) * stride;
    }
    const T* const ahead = k + (key + kKeyGroup) * stride;
    Vec sums[kHeads][kVecsOfGroup];
    for (auto& of_head : sums) {
      for (Vec& s : of_head) s = zero();
    }
    int64_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
      Vec columns[8][kVecsOfGroup];
      transposed_keys(rows, d, columns);
      prefetch(ahead + d * kKeyGroup, 8 * kKeyGroup);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
#pragma GCC unroll 8
        for (int h = 0; h < kHeads; ++h) {
          const Vec x = set1(q[h * padded + d + i]);
          for (int v = 0; v < kVecsOfGroup; ++v) sums[h][v] = fma(x, columns[i][v], sums[h][v]);
        }
      }
    }
    for (; d < head_dim; ++d) {
      alignas(64) float column[kKeyGroup];
      for (int64_t i = 0; i < kKeyGroup; ++i) column[i] = to_float(rows[i][d]);
      for (int h = 0; h < kHeads; ++h) {
        const Vec x = set1(q[h * padded + d]);
        for (int v = 0; v < kVecsOfGroup; ++v) {
          sums[h][v] = fma(x, load(column + v * kLanes), sums[h][v]);
        }
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kVecsOfGroup; ++v) {
        store(scores + h * kKeyBlock + key + v * kLanes, sums[h][v]);
      }
    }
  }
}

/// values[h, lanes] = factor[h] * values[h, lanes] + sum_key p[h, key] * v[key, lanes], keys in
/// ascending order, for kVecs vectors of lanes of which the last ends within `in`.
template <class T, int kHeads, int kVecs, class In>
static inline void stream_lanes(const T* v, int64_t stride, int64_t keys, const float* p,
                                const float* factor, float* values, int64_t padded, In in) {
  Vec sums[kHeads][kVecs];
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int i = 0; i < kVecs; ++i) {
      sums[h][i] = mul(load(values + h * padded + i * kLanes), set1(factor[h]));
    }
  }
  for (int64_t key = 0; key < keys; ++key, v += stride) {
    Vec row[kVecs];
#pragma GCC unroll 4
    for (int i = 0; i < kVecs; ++i) row[i] = load(v + i * kLanes, in);
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) {
      const Vec x = set1(p[h * kKeyBlock + key]);
#pragma GCC unroll 4
      for (int i = 0; i < kVecs; ++i) sums[h][i] = fma(x, row[i], sums[h][i]);
    }
  }
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int i = 0; i < kVecs; ++i) store(values + h * padded + i * kLanes, sums[h][i]);
  }
}

template <class T, int kHeads>
static void stream_values(const T* v, int64_t stride, int64_t keys, int64_t head_dim,
                          const float* p, const float* factor, float* values) {
#ifdef __AVX512F__
  constexpr int kVecs = kHeads <= 6 ? 4 : 2;
#else
  constexpr int kVecs = kHeads <= 2 ? 4 : kHeads <= 6 ? 2 : 1;
#endif
  const int64_t padded = padded_dim(head_dim);
  int64_t d = 0;
  for (; d + kVecs * kLanes <= head_dim; d += kVecs * kLanes) {
    stream_lanes<T, kHeads, kVecs>(v + d, stride, keys, p, factor, values + d, padded, AllLanes{});
  }
  for (; d < head_dim; d += kLanes) {
    stream_lanes<T, kHeads, 1>(v + d, stride, keys, p, factor, values + d, padded,
                               first(head_dim - d));
  }
}

/// Calls body(Count<n>) for n = heads, 1 .. kStreamHeads.
template <int kCount>
struct Count {
  static constexpr int value = kCount;
};
template <int kCount = kStreamHeads, class Body>
static inline void with_count(int64_t heads, Body body) {
  if constexpr (kCount > 1) {
    if (heads < kCount) return with_count<kCount - 1>(heads, body);
  }
  body(Count<kCount>{});
}

}  // namespace cria::ops::CRIA_ISA
