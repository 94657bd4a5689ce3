// Rows of x for the product with packed weights: rounded to 8 bits, 32 to 128 numbers to a scale, with the sums that zeros and offsets of
// the weights are multiplied with; or, for bf16 weights, as pairs or as f32.
#include "ops/packed_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {
namespace {

#ifdef __AVX512F__
using Ints = __m512i;
inline Ints to_ints(Vec v) { return _mm512_cvtps_epi32(v); }
inline Ints magnitude(Vec v) {
  return _mm512_and_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
}
inline Ints max_ints(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
inline int32_t max_of_ints(Ints v) { return _mm512_reduce_max_epi32(v); }
inline int32_t sum_of_ints(Ints v) { return _mm512_reduce_add_epi32(v); }
inline void store_bytes(int8_t* p, Ints v) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(v));
}
#else
using Ints = __m256i;
inline Ints to_ints(Vec v) { return _mm256_cvtps_epi32(v); }
inline Ints magnitude(Vec v) {
  return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
}
inline Ints max_ints(Ints a, Ints b) { return _mm256_max_epi32(a, b); }
inline int32_t max_of_ints(Ints v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}
inline int32_t sum_of_ints(Ints v) {
  __m128i m = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}
inline void store_bytes(int8_t* p, Ints v) {
  const __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64((__m128i*)p, _mm_packs_epi16(half, half));
}
#endif

// Largest magnitudes below are as good as 0: 127 / largest would not be finite.
constexpr float kTiny = 1e-30f;

/// One group: whole numbers to q, their sums over the first 16 and the others to `sums`; the scale is returned.
template <int64_t Group, class T>
float round_group(const T* x, int8_t* q, int32_t* sums) {
  constexpr int64_t kVectors = Group / kLanes, kFirst = 16 / kLanes;
  Vec v[kVectors];
  Ints most = magnitude(v[0] = load(x));
#pragma GCC unroll 16
  for (int64_t i = 1; i < kVectors; ++i)
    most = max_ints(most, magnitude(v[i] = load(x + i * kLanes)));
  // As integers, so that infinity and NaN are larger than any number.
  const int32_t bits = max_of_ints(most);
  const float largest = __builtin_bit_cast(float, bits);
  const bool finite = bits < 0x7f800000;
  const float inverse = finite && largest >= kTiny ? 127.0f / largest : 0.0f;
  Ints n[kVectors];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kVectors; ++i) {
    // What is no number becomes some whole number; the scale then spoils every product.
    n[i] = to_ints(finite ? mul(v[i], set1(inverse)) : zero());
    store_bytes(q + i * kLanes, n[i]);
  }
  sums[0] = sums[1] = 0;
#pragma GCC unroll 16
  for (int64_t i = 0; i < kVectors; ++i) sums[i < kFirst ? 0 : 1] += sum_of_ints(n[i]);
  if (!finite) return __builtin_nanf("");
  return largest >= kTiny ? largest / 127.0f : 0.0f;
}

template <int64_t Group, class T>
void round_row(const PackedPrepareJob& job) {
  const T* const x = static_cast<const T*>(job.from);
  const PackedRow& row = job.row;
  const int64_t rows = job.tile_rows;
  std::byte* numbers = job.tile + job.index * 4;
  auto* scales = reinterpret_cast<float*>(job.tile + rows * row.scales) + job.index;
  auto* whole = reinterpret_cast<int32_t*>(job.tile + rows * row.sums) + job.index;
  const auto zero_point = static_cast<int32_t>(row.zero);
  for (int64_t g = 0; g < job.cols / Group; ++g, scales += rows) {
    alignas(64) int8_t q[Group];
    int32_t sums[2];
    *scales = round_group<Group>(x + g * Group, q, sums);
#pragma GCC unroll 8
    for (int64_t k = 0; k < Group; k += 4, numbers += 4 * rows) __builtin_memcpy(numbers, q + k, 4);
    if (row.offsets) {
      const float scaled = *scales * static_cast<float>(sums[0] + sums[1]);
      __builtin_memcpy(whole, &scaled, 4);
    } else if (row.sum_group == Group) {
      *whole = -zero_point * (sums[0] + sums[1]);
    } else {
      *whole = -zero_point * sums[0];
      whole += rows;
      *whole = -zero_point * sums[1];
    }
    whole += rows;
  }
}

template <class T>
void widen_row(const PackedPrepareJob& job) {
  const T* const x = static_cast<const T*>(job.from);
  auto* to = reinterpret_cast<float*>(job.tile) + job.index * 2;
  alignas(64) float wide[kLanes];
  for (int64_t k = 0; k < job.cols; k += kLanes) {
    store(wide, load(x + k, first(job.cols - k)));
    for (int64_t i = 0; i < kLanes && k + i < job.cols; i += 2, to += 2 * job.tile_rows) {
      to[0] = wide[i];
      to[1] = wide[i + 1];
    }
  }
}

void copy_pairs(const PackedPrepareJob& job) {
  const auto* const x = static_cast<const uint16_t*>(job.from);
  auto* to = reinterpret_cast<uint16_t*>(job.tile) + job.index * 2;
  for (int64_t k = 0; k < job.cols; k += 2, to += 2 * job.tile_rows) {
    to[0] = x[k];
    to[1] = k + 1 < job.cols ? x[k + 1] : 0;
  }
}

template <class T>
void prepare_of(const PackedPrepareJob& job) {
  switch (job.row.group) {
    case 0:
      return widen_row<T>(job);
    case 32:
      return round_row<32, T>(job);
    case 64:
      return round_row<64, T>(job);
    default:
      return round_row<128, T>(job);
  }
}

void prepare(const PackedPrepareJob& job) {
  if (job.pairs) return copy_pairs(job);
  switch (job.dtype) {
    case DType::bf16:
      return prepare_of<bf16>(job);
    case DType::f16:
      return prepare_of<f16>(job);
    default:
      return prepare_of<float>(job);
  }
}

}  // namespace

const PackedPrepareKernels packed_prepare_kernels = {prepare};

}  // namespace cria::ops::CRIA_ISA
