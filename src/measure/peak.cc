#include "measure/peak.h"

#include <immintrin.h>
#include <unistd.h>

#include <algorithm>

#include "base/cpu.h"
#include "measure/timing.h"
#include "plan/host_memory.h"

namespace cria {
namespace {

constexpr int kSteps = 1 << 18;
// Multiply-adds take 4 cycles on at most 2 units; 12 chains and two operands fit AVX2's 16 registers.
constexpr int kChains = 12;
// Only the last of three instructions waits for its chain, and the others want registers.
constexpr int kPairChains = 8;
// Sums of this many powers of two stay exact in f32.
constexpr float kProduct = 0x1p-8f;
constexpr int32_t kOneF32InBf16Pairs = 0x3f803f80, kProductInBf16Pairs = 0x3b803b80;

// Says that the value may have changed, at no cost: constants are not folded into the loops, nor moved out of them.
#define CRIA_UNKNOWN(value) asm volatile("" : "+v"(value))
#define CRIA_UNKNOWN_AVX2(value) asm volatile("" : "+x"(value))

template <class Lane, class Register, size_t count>
double sum_lanes(const Register (&chains)[count]) {
  double sum = 0;
  for (const Register& chain : chains) {
    Lane lanes[sizeof(Register) / sizeof(Lane)];
    std::memcpy(lanes, &chain, sizeof(Register));
    for (const Lane lane : lanes) sum += static_cast<double>(lane);
  }
  return sum;
}

__attribute__((target("avx2,fma"), noinline)) double f32_avx2() {
  __m256 s[kChains], x = _mm256_set1_ps(1), y = _mm256_set1_ps(kProduct);
  CRIA_UNKNOWN_AVX2(x);
  for (int i = 0; i < kChains; ++i) s[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (__m256& chain : s) chain = _mm256_fmadd_ps(chain, x, y);
  }
  return sum_lanes<float>(s);
}

__attribute__((target("avx512f"), noinline)) double f32_avx512() {
  __m512 s[kChains], x = _mm512_set1_ps(1), y = _mm512_set1_ps(kProduct);
  CRIA_UNKNOWN(x);
  for (int i = 0; i < kChains; ++i) s[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (__m512& chain : s) chain = _mm512_fmadd_ps(chain, x, y);
  }
  return sum_lanes<float>(s);
}

__attribute__((target("avx512f,avx512bf16"), noinline)) double bf16_avx512() {
  __m512 s[kChains];
  __m512i x = _mm512_set1_epi32(kOneF32InBf16Pairs), y = _mm512_set1_epi32(kProductInBf16Pairs);
  CRIA_UNKNOWN(x);
  for (int i = 0; i < kChains; ++i) s[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (__m512& chain : s) chain = _mm512_dpbf16_ps(chain, (__m512bh)x, (__m512bh)y);
  }
  return sum_lanes<float>(s);
}

__attribute__((target("avx512f,avx512vnni"), noinline)) double int8_avx512_vnni() {
  __m512i s[kChains], x = _mm512_set1_epi8(1), y = _mm512_set1_epi8(1);
  CRIA_UNKNOWN(x);
  for (int i = 0; i < kChains; ++i) s[i] = _mm512_set1_epi32(i);
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (__m512i& chain : s) chain = _mm512_dpbusd_epi32(chain, x, y);
  }
  return sum_lanes<int32_t>(s);
}

__attribute__((target("avx2,avxvnni"), noinline)) double int8_avx_vnni() {
  __m256i s[kChains], x = _mm256_set1_epi8(1), y = _mm256_set1_epi8(1);
  CRIA_UNKNOWN_AVX2(x);
  for (int i = 0; i < kChains; ++i) s[i] = _mm256_set1_epi32(i);
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
    for (__m256i& chain : s) chain = _mm256_dpbusd_avx_epi32(chain, x, y);
  }
  return sum_lanes<int32_t>(s);
}

// Products of bytes to pairs of 16 bits, those to sums of 32: x changes for all the compiler knows, or the first two
// instructions would be done once for the whole loop.
__attribute__((target("avx512f,avx512bw"), noinline)) double int8_avx512_pairs() {
  __m512i s[kPairChains], x = _mm512_set1_epi8(1), y = _mm512_set1_epi8(1),
                          ones = _mm512_set1_epi16(1);
  for (int i = 0; i < kPairChains; ++i) s[i] = _mm512_set1_epi32(i);
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 8
    for (__m512i& chain : s) {
      CRIA_UNKNOWN(x);
      chain = _mm512_add_epi32(chain, _mm512_madd_epi16(_mm512_maddubs_epi16(x, y), ones));
    }
  }
  return sum_lanes<int32_t>(s);
}

__attribute__((target("avx2"), noinline)) double int8_avx2_pairs() {
  __m256i s[kPairChains], x = _mm256_set1_epi8(1), y = _mm256_set1_epi8(1),
                          ones = _mm256_set1_epi16(1);
  for (int i = 0; i < kPairChains; ++i) s[i] = _mm256_set1_epi32(i);
  for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 8
    for (__m256i& chain : s) {
      CRIA_UNKNOWN_AVX2(x);
      chain = _mm256_add_epi32(chain, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
    }
  }
  return sum_lanes<int32_t>(s);
}

/// `depth`: products that one instruction adds to a lane.
ComputeLoop loop(std::string_view instruction, int bits, int chains, int depth, double product,
                 double (*run)()) {
  const int64_t operations = int64_t{2} * (bits / 32) * depth * chains * kSteps;
  return {instruction, bits, chains, operations, product, run};
}

ComputeLoop int8_loop() {
  if (current_isa() >= Isa::avx512) {
    if (__builtin_cpu_supports("avx512vnni"))
      return loop("vpdpbusd", 512, kChains, 4, 1, int8_avx512_vnni);
    return loop("vpmaddubsw, vpmaddwd, vpaddd", 512, kPairChains, 4, 1, int8_avx512_pairs);
  }
  if (__builtin_cpu_supports("avxvnni")) return loop("vpdpbusd", 256, kChains, 4, 1, int8_avx_vnni);
  return loop("vpmaddubsw, vpmaddwd, vpaddd", 256, kPairChains, 4, 1, int8_avx2_pairs);
}

int64_t bytes_beyond_caches() {
  constexpr int64_t kLeast = int64_t{256} << 20;
  const int64_t l3 = std::max<int64_t>(0, sysconf(_SC_LEVEL3_CACHE_SIZE));
  const int64_t available = available_memory();
  const int64_t most = available > 0 ? std::max(kLeast, available / 8) : kLeast;
  return std::clamp(4 * l3, kLeast, most);
}

constexpr int64_t kPieceBytes = 128 << 10;

}  // namespace

std::string_view name_of(Peak peak) {
  switch (peak) {
    case Peak::f32:
      return "fp32 multiply-adds";
    case Peak::bf16:
      return "bf16 dot products";
    case Peak::int8:
      return "int8 dot products";
    case Peak::read:
      return "reading memory";
  }
  return "?";
}

std::string_view unit_of(Peak peak) {
  return peak == Peak::read ? "GB" : peak == Peak::int8 ? "GOP" : "GFLOP";
}

std::optional<ComputeLoop> compute_loop(Peak peak) {
  switch (peak) {
    case Peak::f32:
      return current_isa() >= Isa::avx512
                 ? loop("vfmadd231ps", 512, kChains, 1, kProduct, f32_avx512)
                 : loop("vfmadd231ps", 256, kChains, 1, kProduct, f32_avx2);
    case Peak::bf16:
      if (current_isa() < Isa::avx512_bf16) return std::nullopt;
      return loop("vdpbf16ps", 512, kChains, 2, kProduct, bf16_avx512);
    case Peak::int8:
      return int8_loop();
    case Peak::read:
      return std::nullopt;
  }
  return std::nullopt;
}

ReadLoop::ReadLoop(ThreadPool& pool)
    : memory_(DType::u8, 1, bytes_beyond_caches() / kPieceBytes * kPieceBytes) {
  // Zero pages that were never written may all be the same page.
  pool.parallel_for(size_bytes() / kPieceBytes, [&](int64_t i) {
    std::memset(memory_.bytes().data() + i * kPieceBytes, 1, kPieceBytes);
  });
}

void ReadLoop::run(ThreadPool& pool) const {
  pool.parallel_for(size_bytes() / kPieceBytes, [&](int64_t i) {
    const std::byte* const piece = memory_.bytes().data() + i * kPieceBytes;
    __m256i sums[4] = {};
    for (int64_t k = 0; k < kPieceBytes; k += 128) {
      for (int64_t j = 0; j < 4; ++j) {
        sums[j] = _mm256_xor_si256(
            sums[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(piece + k + 32 * j)));
      }
    }
    for (__m256i& sum : sums) CRIA_UNKNOWN_AVX2(sum);
  });
}

std::optional<PeakMethod> Peaks::method(Peak peak) const {
  if (peak == Peak::read) return PeakMethod();
  const auto loop = compute_loop(peak);
  if (!loop) return std::nullopt;
  return PeakMethod{std::string(loop->instruction), loop->bits};
}

double Peaks::rate(Peak peak, ThreadPool& pool) const {
  constexpr double kSeconds = 0.1;
  const auto loop = compute_loop(peak);
  if (!loop && peak != Peak::read) return 0;
  // Several calls for each thread, so that one that wakes late takes fewer.
  const int64_t calls = int64_t{8} * pool.threads();
  const Stopwatch watch;
  double work = 0, seconds = 0;
  do {
    if (loop) {
      pool.parallel_for(calls, [&](int64_t) {
        double sum = loop->run();
        CRIA_UNKNOWN_AVX2(sum);
      });
      work += static_cast<double>(calls * loop->operations);
    } else {
      reading_.run(pool);
      work += static_cast<double>(reading_.size_bytes());
    }
    seconds = watch.seconds();
  } while (seconds < kSeconds);
  return work / seconds;
}

}  // namespace cria
