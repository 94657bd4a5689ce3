#include "formats/element_cast.h"

#include <immintrin.h>

#include <cstring>

#include "base/error.h"
#include "formats/dequantise.h"

namespace cria {
namespace {

// In files elements need not be aligned, hence memcpy; the compiler makes plain loads of it.
template <class T>
void widen(std::span<const std::byte> bytes, std::span<float> out) {
  const std::byte* in = bytes.data();
  float* y = out.data();
  const size_t count = out.size();
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + i * sizeof(T), sizeof(T));
    y[i] = static_cast<float>(value);
  }
}

template <class T>
void narrow(std::span<const float> values, std::span<std::byte> out) {
  const float* x = values.data();
  std::byte* y = out.data();
  const size_t count = values.size();
  for (size_t i = 0; i < count; ++i) {
    const auto value = static_cast<T>(x[i]);
    std::memcpy(y + i * sizeof(T), &value, sizeof(T));
  }
}

// GCC 12 converts halves one by one; the processor does eight.
void widen_f16(std::span<const std::byte> bytes, std::span<float> out) {
  const size_t whole = out.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) {
    const auto* in = reinterpret_cast<const __m128i*>(bytes.subspan(2 * i, 16).data());
    _mm256_storeu_ps(out.subspan(i, 8).data(), _mm256_cvtph_ps(_mm_loadu_si128(in)));
  }
  widen<f16>(bytes.subspan(2 * whole), out.subspan(whole));
}

void narrow_f16(std::span<const float> values, std::span<std::byte> out) {
  const size_t whole = values.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) {
    const __m256 x = _mm256_loadu_ps(values.subspan(i, 8).data());
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.subspan(2 * i, 16).data()),
                     _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  narrow<f16>(values.subspan(whole), out.subspan(2 * whole));
}

void widen_bf16(std::span<const std::byte> bytes, std::span<float> out) {
  const size_t whole = out.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) {
    const auto* in = reinterpret_cast<const __m128i*>(bytes.subspan(2 * i, 16).data());
    const __m256i x = _mm256_cvtepu16_epi32(_mm_loadu_si128(in));
    _mm256_storeu_ps(out.subspan(i, 8).data(), _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)));
  }
  widen<bf16>(bytes.subspan(2 * whole), out.subspan(whole));
}

// Eight of bf16's constructor.
void narrow_bf16(std::span<const float> values, std::span<std::byte> out) {
  const __m256i one = _mm256_set1_epi32(1), half = _mm256_set1_epi32(0x7fff);
  const __m256i quiet = _mm256_set1_epi32(0x40);
  const size_t whole = values.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) {
    const __m256 x = _mm256_loadu_ps(values.subspan(i, 8).data());
    const __m256i u = _mm256_castps_si256(x);
    const __m256i upper = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(upper, one);
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(half, odd)), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i r = _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, quiet), nan);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0xd8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.subspan(2 * i, 16).data()),
                     _mm256_castsi256_si128(packed));
  }
  narrow<bf16>(values.subspan(whole), out.subspan(2 * whole));
}

}  // namespace

void to_f32(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  if (is_quantised(dtype)) return dequantise(dtype, bytes, out);
  require(is_float(dtype), "convert: {} holds no real numbers, expected a float or block type",
          name_of(dtype));
  check(bytes.size() == out.size() * static_cast<size_t>(block_bytes(dtype)),
        "to_f32 gets exactly the bytes of its output");
  switch (dtype) {
    case DType::f32:
      return widen<float>(bytes, out);
    case DType::f16:
      return widen_f16(bytes, out);
    case DType::bf16:
      return widen_bf16(bytes, out);
    default:
      return widen<double>(bytes, out);
  }
}

void from_f32(std::span<const float> values, DType dtype, std::span<std::byte> out) {
  require(is_float(dtype), "convert: cannot write {}, expected F32, F16, BF16 or F64",
          name_of(dtype));
  check(out.size() == values.size() * static_cast<size_t>(block_bytes(dtype)),
        "from_f32 gets room for exactly its values");
  switch (dtype) {
    case DType::f32:
      return narrow<float>(values, out);
    case DType::f16:
      return narrow_f16(values, out);
    case DType::bf16:
      return narrow_bf16(values, out);
    default:
      return narrow<double>(values, out);
  }
}

}  // namespace cria
