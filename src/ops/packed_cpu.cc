// Panels of packed weights times rows of x: sums of a tile stay in registers while k runs over the panel once, front to back.
#include "ops/packed_dots.h"
#include "ops/packed_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {
namespace {

// Fetched into L2 meanwhile: the processor's own fetching stops at pages. It brings the line between two fetches; one for each
// line was a third slower.
constexpr int64_t kAheadBytes = 4096, kFetchStep = 128;

/// What lies so far behind `bytes` bytes that are read now.
inline __attribute__((always_inline)) void fetch(const std::byte* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += kFetchStep)
    _mm_prefetch(reinterpret_cast<const char*>(from + kAheadBytes + i), _MM_HINT_T1);
}

template <class T>
void put_row(const float* sums, int64_t count, T* y, bool add_to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Mask m = first(count - i);
    const Vec s = load(sums + i);
    store(y + i, add_to ? add(load(y + i, m), s) : s, m);
  }
}

/// Sums of 16 outputs of each of `rows` rows of x to y, those past the last output left out.
void put(const PackedJob& job, const float* sums, int64_t t, int64_t rows, int64_t out) {
  const int64_t count = job.outs - out < kPanelRows ? job.outs - out : kPanelRows;
  for (int64_t r = 0; r < rows; ++r, sums += kPanelRows) {
    const int64_t at = (t + r) * job.y_stride + out;
    switch (job.y_dtype) {
      case DType::bf16:
        put_row(sums, count, static_cast<bf16*>(job.y) + at, job.add);
        break;
      case DType::f16:
        put_row(sums, count, static_cast<f16*>(job.y) + at, job.add);
        break;
      default:
        put_row(sums, count, static_cast<float*>(job.y) + at, job.add);
    }
  }
}

// What the kernels must know of a type (ops/packed_layout.h); kMost is the largest stored number.
template <int64_t Group, int64_t Most, bool Nibbles, bool Zero, bool Offsets, bool Of256,
          bool Wide = false>
struct Format {
  static constexpr int64_t kMost = Most;
  static constexpr bool kNibbles = Nibbles, kZero = Zero, kOffsets = Offsets, kOf256 = Of256;
  static constexpr bool kWide = Wide;
  static constexpr int64_t kDot = Wide && !Nibbles ? 32 : Group;  // dot_numbers()
  static constexpr int64_t kDotBytes = kDot * kPanelRows / (Nibbles ? 2 : 1);
  static constexpr int64_t kUnitDots = (Of256 ? 256 : Wide ? Group : 2 * Group) / kDot;
};
using Q4_0 = Format<32, 15, true, true, false, false>;
using Q4_1 = Format<32, 15, true, false, true, false>;
using Q4_K = Format<32, 15, true, false, true, true>;
using Q5_0 = Format<32, 31, false, true, false, false>;
using Q5_1 = Format<32, 31, false, false, true, false>;
using Q5_K = Format<32, 31, false, false, true, true>;
using Q6_K = Format<16, 63, false, true, false, true>;
using Q8_0 = Format<32, 255, false, true, false, false>;
template <int64_t Group>
using Int4 = Format<Group, 15, true, true, false, false, true>;
template <int64_t Group>
using Int8 = Format<Group, 255, false, true, false, false, true>;

/// Scales (or offsets) of a unit's group, of the rows of part p: halves, or small whole numbers times the unit's halves; a wide
/// one is the unit's only one.
template <class F>
inline __attribute__((always_inline)) Floats scale_of(const std::byte* half, const std::byte* small,
                                                      int64_t in_unit, int64_t p) {
  if constexpr (F::kWide) return load_floats(half + p * kRows * 4);
  if constexpr (!F::kOf256) return halves(half + (in_unit * kPanelRows + p * kRows) * 2);
  return multiply(halves(half + p * kRows * 2),
                  small_ints(small + in_unit * kPanelRows + p * kRows));
}

/// Rows of x at once: their whole sums and the weights fill the registers.
template <class F>
#ifdef __AVX512VNNI__
constexpr int kMostRows = 12;
#else
constexpr int kMostRows = F::kMost == 255 ? 2 : 4;
#endif

template <class F>
struct IntTiles {
  static constexpr int kMost = kMostRows<F>;
  /// sums[t][...] = the panel's rows times T rows of x.
  template <int T>
  static void run(const PackedJob& job, const std::byte* panel, const std::byte* x, float* sums);
};

template <class F>
template <int T>
void IntTiles<F>::run(const PackedJob& job, const std::byte* panel, const std::byte* x,
                      float* sums) {
  const PackedPanel& at = job.panel;
  const auto* const x_scales = reinterpret_cast<const float*>(x + T * job.row.scales);
  const std::byte* const x_sums = x + T * job.row.sums;
  Floats y[kParts][T];
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t) {
    for (int64_t p = 0; p < kParts; ++p) y[p][t] = no_floats();
  }
  for (int64_t d = 0; d < job.cols / F::kDot; ++d) {
    const int64_t in_unit = d % F::kUnitDots;
    const std::byte* const unit = panel + d / F::kUnitDots * at.unit_bytes;
    const std::byte* const w = unit + at.numbers + in_unit * F::kDotBytes;
    if (job.streams) fetch(in_unit == 0 ? unit : w, F::kDotBytes + (in_unit == 0 ? at.numbers : 0));
    Ints dots[kParts][T];
    group_dots<F, T>(w, Rows{x + d * F::kDot * T, x_sums + d * 4 * T}, dots);
    const float* const x_scale = x_scales + (F::kDot == 16 ? d / 2 : d) * T;
    const auto* const x_sum = reinterpret_cast<const float*>(x_sums + d * 4 * T);
#pragma GCC unroll 2
    for (int64_t p = 0; p < kParts; ++p) {
      const Floats scale = scale_of<F>(unit + at.scales, unit + at.small_scales, in_unit, p);
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t)
        y[p][t] =
            multiply_add(to_floats(dots[p][t]), multiply(scale, everywhere(x_scale[t])), y[p][t]);
      if constexpr (!F::kOffsets) continue;
      const Floats offset = scale_of<F>(unit + at.offsets, unit + at.small_offsets, in_unit, p);
#pragma GCC unroll 12
      for (int t = 0; t < T; ++t)
        y[p][t] = F::kOf256 ? subtract_product(offset, everywhere(x_sum[t]), y[p][t])
                            : multiply_add(offset, everywhere(x_sum[t]), y[p][t]);
    }
  }
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t) {
    for (int64_t p = 0; p < kParts; ++p) store_floats(sums + t * kPanelRows + p * kRows, y[p][t]);
  }
}

/// Of rows left over: tiles of 24, 12, 8, 4, 2, 1, or 6, 4, 2, 1.
constexpr int fewer(int t) { return t == 24 ? 12 : t == 12 ? 8 : t == 6 ? 4 : t / 2; }

// bf16 weights: pairs of neighbouring k of 16 rows, multiplied as pairs or widened.
#ifdef __AVX512F__
constexpr int kMostFloatRows = 12;
inline Vec even_of(const std::byte* w) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(w), 16));
}
inline Vec odd_of(const std::byte* w) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(w), _mm512_set1_epi32(-65536)));
}
#else
constexpr int kMostFloatRows = 6;
inline Vec even_of(const std::byte* w) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i*)w), 16));
}
inline Vec odd_of(const std::byte* w) {
  return _mm256_castsi256_ps(
      _mm256_and_si256(_mm256_loadu_si256((const __m256i*)w), _mm256_set1_epi32(-65536)));
}
#endif
constexpr int64_t kFloatParts = kPanelRows / kLanes;

struct WideTiles {
  static constexpr int kMost = kMostFloatRows;
  template <int T>
  static void run(const PackedJob& job, const std::byte* w, const std::byte* x, float* sums) {
    Vec y[kFloatParts][T];
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
      for (int64_t p = 0; p < kFloatParts; ++p) y[p][t] = zero();
    }
    for (int64_t k = 0; k < job.cols; k += 2, w += kPanelRows * 4, x += 8 * T) {
      if (job.streams) _mm_prefetch(reinterpret_cast<const char*>(w + kAheadBytes), _MM_HINT_T1);
      // A number of x meets all rows at once: there are hardly more loads than the processor makes beside the products.
#pragma GCC unroll 2
      for (int64_t i = 0; i < 2; ++i) {
        Vec v[kFloatParts];
#pragma GCC unroll 2
        for (int64_t p = 0; p < kFloatParts; ++p)
          v[p] = i == 0 ? even_of(w + p * 32) : odd_of(w + p * 32);
#pragma GCC unroll 12
        for (int t = 0; t < T; ++t) {
          const Vec one = set1(reinterpret_cast<const float*>(x)[2 * t + i]);
#pragma GCC unroll 2
          for (int64_t p = 0; p < kFloatParts; ++p) y[p][t] = fma(v[p], one, y[p][t]);
        }
      }
    }
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
      for (int64_t p = 0; p < kFloatParts; ++p) store(sums + t * kPanelRows + p * kLanes, y[p][t]);
    }
  }
};

#ifdef __AVX512BF16__
struct PairTiles {
  static constexpr int kMost = 24;
  template <int T>
  static void run(const PackedJob& job, const std::byte* w, const std::byte* x, float* sums) {
    Vec y[T];
#pragma GCC unroll 24
    for (int t = 0; t < T; ++t) y[t] = zero();
    for (int64_t k = 0; k < job.cols; k += 2, w += kPanelRows * 4, x += 4 * T) {
      if (job.streams) _mm_prefetch(reinterpret_cast<const char*>(w + kAheadBytes), _MM_HINT_T1);
      const auto v = (__m512bh)_mm512_loadu_si512(w);
#pragma GCC unroll 24
      for (int t = 0; t < T; ++t)
        y[t] = _mm512_dpbf16_ps(y[t], v, (__m512bh)_mm512_set1_epi32(four_numbers(x + t * 4)));
    }
#pragma GCC unroll 24
    for (int t = 0; t < T; ++t) store(sums + t * kPanelRows, y[t]);
  }
};
constexpr bool kHasPairs = true;
#else
using PairTiles = WideTiles;
constexpr bool kHasPairs = false;
#endif

/// The rows of x from t on, T at a time, then fewer.
template <class Tiles, int T>
void rows_of_x(const PackedJob& job, const std::byte* panel, int64_t out, int64_t t) {
  alignas(64) float sums[T * kPanelRows];
  for (; t + T <= job.x_rows; t += T) {
    Tiles::template run<T>(job, panel, job.x + t * job.row.bytes, sums);
    put(job, sums, t, T, out);
  }
  if constexpr (T > 1) {
    if (t < job.x_rows) rows_of_x<Tiles, fewer(T)>(job, panel, out, t);
  }
}

/// Calls use.with<Tiles>() for a type.
template <class Use>
inline void choose_tiles(DType type, bool pairs, const Use& use) {
  switch (type) {
    case DType::q4_0:
      return use.template with<IntTiles<Q4_0>>();
    case DType::q4_1:
      return use.template with<IntTiles<Q4_1>>();
    case DType::q4_k:
      return use.template with<IntTiles<Q4_K>>();
    case DType::q5_0:
      return use.template with<IntTiles<Q5_0>>();
    case DType::q5_1:
      return use.template with<IntTiles<Q5_1>>();
    case DType::q5_k:
      return use.template with<IntTiles<Q5_K>>();
    case DType::q6_k:
      return use.template with<IntTiles<Q6_K>>();
    case DType::q8_0:
      return use.template with<IntTiles<Q8_0>>();
    case DType::int4_g32:
      return use.template with<IntTiles<Int4<32>>>();
    case DType::int4_g64:
      return use.template with<IntTiles<Int4<64>>>();
    case DType::int4_g128:
      return use.template with<IntTiles<Int4<128>>>();
    case DType::int8_g32:
      return use.template with<IntTiles<Int8<32>>>();
    case DType::int8_g64:
      return use.template with<IntTiles<Int8<64>>>();
    case DType::int8_g128:
      return use.template with<IntTiles<Int8<128>>>();
    default:
      return pairs ? use.template with<PairTiles>() : use.template with<WideTiles>();
  }
}

struct AllPanels {
  const PackedJob& job;
  template <class Tiles>
  void with() const {
    const std::byte* panel = job.panels;
    for (int64_t out = 0; out < job.outs; out += kPanelRows, panel += job.panel.bytes)
      rows_of_x<Tiles, Tiles::kMost>(job, panel, out, 0);
  }
};
void multiply(const PackedJob& job) { choose_tiles(job.type, job.pairs, AllPanels{job}); }

struct MostRows {
  int& rows;
  template <class Tiles>
  void with() const {
    rows = Tiles::kMost;
  }
};
int64_t tile_rows(DType type, bool pairs, int64_t left) {
  int rows = 1;
  choose_tiles(type, pairs, MostRows{rows});
  while (rows > left) rows = fewer(rows);
  return rows;
}

}  // namespace

const PackedKernels packed_kernels = {multiply, tile_rows, kHasPairs};

}  // namespace cria::ops::CRIA_ISA
