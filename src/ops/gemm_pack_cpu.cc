// Packing for the matrix product: converts to f32 (or pairs bf16) and, where the summed dim is the
// contiguous one, transposes squares of kLanes x kLanes in registers.
#include "ops/gemm_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {
namespace {

#ifdef __AVX512F__
inline Vec low_quads(Vec a, Vec b) { return _mm512_shuffle_f32x4(a, b, 0x88); }
inline Vec high_quads(Vec a, Vec b) { return _mm512_shuffle_f32x4(a, b, 0xdd); }
inline Vec low_pairs(Vec a, Vec b) {
  return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
inline Vec high_pairs(Vec a, Vec b) {
  return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/// Rows become columns.
inline __attribute__((always_inline)) void transpose(Vec (&v)[16]) {
  Vec t[16];
  // 4 x 4 squares inside every quarter: t[4g + c] holds column c, 4 + c, 8 + c, 12 + c of rows 4g..
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    const Vec ab_low = _mm512_unpacklo_ps(v[4 * g], v[4 * g + 1]);
    const Vec ab_high = _mm512_unpackhi_ps(v[4 * g], v[4 * g + 1]);
    const Vec cd_low = _mm512_unpacklo_ps(v[4 * g + 2], v[4 * g + 3]);
    const Vec cd_high = _mm512_unpackhi_ps(v[4 * g + 2], v[4 * g + 3]);
    t[4 * g] = low_pairs(ab_low, cd_low);
    t[4 * g + 1] = high_pairs(ab_low, cd_low);
    t[4 * g + 2] = low_pairs(ab_high, cd_high);
    t[4 * g + 3] = high_pairs(ab_high, cd_high);
  }
  // Then the squares change places.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const Vec even01 = low_quads(t[c], t[4 + c]);
    const Vec odd01 = high_quads(t[c], t[4 + c]);
    const Vec even23 = low_quads(t[8 + c], t[12 + c]);
    const Vec odd23 = high_quads(t[8 + c], t[12 + c]);
    v[c] = low_quads(even01, even23);
    v[8 + c] = high_quads(even01, even23);
    v[4 + c] = low_quads(odd01, odd23);
    v[12 + c] = high_quads(odd01, odd23);
  }
}
#else
inline Vec low_pairs(Vec a, Vec b) {
  return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}
inline Vec high_pairs(Vec a, Vec b) {
  return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}

/// Rows become columns.
inline __attribute__((always_inline)) void transpose(Vec (&v)[8]) {
  Vec t[8];
#pragma GCC unroll 2
  for (int g = 0; g < 2; ++g) {
    const Vec ab_low = _mm256_unpacklo_ps(v[4 * g], v[4 * g + 1]);
    const Vec ab_high = _mm256_unpackhi_ps(v[4 * g], v[4 * g + 1]);
    const Vec cd_low = _mm256_unpacklo_ps(v[4 * g + 2], v[4 * g + 3]);
    const Vec cd_high = _mm256_unpackhi_ps(v[4 * g + 2], v[4 * g + 3]);
    t[4 * g] = low_pairs(ab_low, cd_low);
    t[4 * g + 1] = high_pairs(ab_low, cd_low);
    t[4 * g + 2] = low_pairs(ab_high, cd_high);
    t[4 * g + 3] = high_pairs(ab_high, cd_high);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    v[c] = _mm256_permute2f128_ps(t[c], t[4 + c], 0x20);
    v[4 + c] = _mm256_permute2f128_ps(t[c], t[4 + c], 0x31);
  }
}
#endif

// How cells are read. `kPerCell` numbers of the summed dim make one cell.
template <class T>
struct Floats {
  using Element = T;
  static constexpr int64_t kPerCell = 1;
  static Vec along_depth(const T* p) { return load(p); }
  static Vec along_depth(const T* p, int64_t left) { return load(p, first(left)); }
  static Vec along_outer(const T* p, int64_t /*stride*/, int64_t /*left*/) { return load(p); }
  static Vec along_outer(const T* p, int64_t /*stride*/, int64_t /*left*/, Mask m) {
    return load(p, m);
  }
};

#ifdef __AVX512BF16__
struct Pairs {
  using Element = bf16;
  static constexpr int64_t kPerCell = 2;
  static Vec along_depth(const bf16* p) { return _mm512_loadu_ps(p); }
  static Vec along_depth(const bf16* p, int64_t left) {
    const __mmask32 m = left >= 32 ? ~__mmask32(0) : (__mmask32(1) << left) - 1;
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(m, p));
  }
  static Vec along_outer(const bf16* p, int64_t stride, int64_t left) {
    return along_outer(p, stride, left, Mask(0xffff));
  }
  static Vec along_outer(const bf16* p, int64_t stride, int64_t left, Mask m) {
    const Mask second = left > 1 ? m : Mask(0);
    const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p));
    const __m512i odd =
        _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(second, left > 1 ? p + stride : p));
    return _mm512_castsi512_ps(_mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
  }
};
#endif

/// kLanes outer entries from `entry` on, into columns `to` of a panel; the depth is contiguous.
template <class Read>
void pack_rows(const PackJob& job, int64_t entry, float* to) {
  using T = typename Read::Element;
  const T* const data = static_cast<const T*>(job.side.data) + job.k_begin;
  const T* row[kLanes];
  for (int64_t r = 0; r < kLanes; ++r) {
    const int64_t e = entry + r < job.side.outer ? entry + r : job.side.outer - 1;
    row[r] = data + e * job.side.stride;
  }
  const int64_t depth = job.k_end - job.k_begin;
  constexpr int64_t kStep = kLanes * Read::kPerCell;
  // The next rows are fetched meanwhile: there are too many streams for the processor to follow.
  const int64_t ahead = kLanes * job.side.stride;
  int64_t k = 0;
  Vec v[kLanes];
  for (; k + kStep <= depth; k += kStep) {
#pragma GCC unroll 16
    for (int64_t r = 0; r < kLanes; ++r) {
      _mm_prefetch(reinterpret_cast<const char*>(row[r] + k + ahead), _MM_HINT_T1);
      v[r] = Read::along_depth(row[r] + k);
    }
    transpose(v);
#pragma GCC unroll 16
    for (int64_t r = 0; r < kLanes; ++r) store(to + r * job.width, v[r]);
    to += kLanes * job.width;
  }
  if (k == depth) return;
  for (int64_t r = 0; r < kLanes; ++r) v[r] = Read::along_depth(row[r] + k, depth - k);
  transpose(v);
  for (int64_t r = 0; k + r * Read::kPerCell < depth; ++r) store(to + r * job.width, v[r]);
}

constexpr int64_t kFetchAhead = 16;  // rows of the matrix

/// The same where outer entries lie side by side: cells [begin, end) of the panel.
template <class Read>
void pack_columns(const PackJob& job, int64_t entry, float* to, int64_t begin, int64_t end) {
  using T = typename Read::Element;
  const int64_t valid = job.side.outer - entry;
  const int64_t stride = job.side.stride;
  const int64_t depth = job.k_end - job.k_begin;
  const T* const p = static_cast<const T*>(job.side.data) + job.k_begin * stride + entry;
  if (valid >= kLanes) {
    for (int64_t cell = begin; cell < end; ++cell) {
      const int64_t k = cell * Read::kPerCell;
      _mm_prefetch(reinterpret_cast<const char*>(p + (k + kFetchAhead) * stride), _MM_HINT_T1);
      store(to + cell * job.width, Read::along_outer(p + k * stride, stride, depth - k));
    }
    return;
  }
  const Mask m = first(valid > 0 ? valid : 0);
  for (int64_t cell = begin; cell < end; ++cell) {
    const int64_t k = cell * Read::kPerCell;
    store(to + cell * job.width,
          valid > 0 ? Read::along_outer(p + k * stride, stride, depth - k, m) : zero());
  }
}

template <class Read>
void pack_as(const PackJob& job) {
  const int64_t cells = (job.k_end - job.k_begin + Read::kPerCell - 1) / Read::kPerCell;
  const auto each = [&](auto body) {
    for (int64_t p = 0; p < job.panels; ++p) {
      for (int64_t lane = 0; lane < job.width; lane += kLanes) {
        body((job.first_panel + p) * job.taken + lane, job.to + p * cells * job.width + lane);
      }
    }
  };
  if (job.side.depth_contiguous) {
    each([&](int64_t entry, float* to) { pack_rows<Read>(job, entry, to); });
    return;
  }
  // A few k at a time over all panels: neighbouring panels share cache lines.
  constexpr int64_t kChunk = 4;
  for (int64_t begin = 0; begin < cells; begin += kChunk) {
    const int64_t end = begin + kChunk < cells ? begin + kChunk : cells;
    each([&](int64_t entry, float* to) { pack_columns<Read>(job, entry, to, begin, end); });
  }
}

void pack(const PackJob& job) {
#ifdef __AVX512BF16__
  if (job.pairs) return pack_as<Pairs>(job);
#endif
  switch (job.side.dtype) {
    case DType::bf16:
      return pack_as<Floats<bf16>>(job);
    case DType::f16:
      return pack_as<Floats<f16>>(job);
    default:
      return pack_as<Floats<float>>(job);
  }
}

}  // namespace

const PackKernels pack_kernels = {pack};

}  // namespace cria::ops::CRIA_ISA
