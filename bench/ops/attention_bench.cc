// Speed of attention beside the processor's peak (a loop of independent fused multiply-adds) and,
// for decoding, beside a loop that only reads.
//
//   taskset -c 0 ops_attention_bench --benchmark_repetitions=5
//     --benchmark_report_aggregates_only=true
//
// Operations are those causal attention needs: T (T + 1) / 2 pairs of query and key, 4 D a pair
// forward, 10 D backward. One-thread lines count the thread's own processor time.
#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "ops/attention.h"

namespace cria::ops {
namespace {

Tensor ramp(DType dtype, int64_t rows, int64_t cols) {
  Tensor t(dtype, rows, cols);
  uint32_t s = 1;
  for (int64_t i = 0; i < rows * cols; ++i) {
    s = s * 1664525u + 1013904223u;
    const float value = static_cast<float>(s >> 8) / (1 << 23) - 1.0f;
    if (dtype == DType::f32) {
      t.span<float>()[static_cast<size_t>(i)] = value;
    } else {
      t.span<bf16>()[static_cast<size_t>(i)] = bf16(value);
    }
  }
  return t;
}

void count(benchmark::State& state, const char* what, double per_iteration) {
  state.counters[what] = benchmark::Counter(
      per_iteration * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

__attribute__((target("avx512f"))) void peak_avx512(benchmark::State& state) {
  constexpr int kChains = 12, kSteps = 4096;
  __m512 s[kChains];
  for (int i = 0; i < kChains; ++i) s[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  for (auto _ : state) {
    for (int k = 0; k < kSteps; ++k) {
#pragma GCC unroll 12
      for (int i = 0; i < kChains; ++i) s[i] = _mm512_fmadd_ps(s[i], x, y);
    }
    for (__m512& v : s) benchmark::DoNotOptimize(v);
  }
  count(state, "GFLOP/s", 32.0 * kChains * kSteps);
}

enum class Pass { forward, backward, both };

void document(benchmark::State& state, Pass pass, HeadShape s, int64_t tokens, DType dtype,
              int threads) {
  ThreadPool pool(threads);
  const Exec exec{pool};
  const int64_t q_cols = s.heads * s.head_dim, kv_cols = s.kv_heads * s.head_dim;
  const Tensor qkv = ramp(dtype, tokens, q_cols + 2 * kv_cols);
  const Tensor dout = ramp(dtype, tokens, q_cols);
  Tensor out(dtype, tokens, q_cols), lse(DType::f32, tokens, s.heads);
  Tensor grad(dtype, tokens, q_cols + 2 * kv_cols);
  const std::vector<int64_t> documents{0, tokens};
  const auto part = [&](auto m, int64_t i) {
    return i == 0 ? m.col_range(0, q_cols) : m.col_range(q_cols + (i - 1) * kv_cols, kv_cols);
  };
  const ConstView q = part(qkv.view(), 0), k = part(qkv.view(), 1), v = part(qkv.view(), 2);
  attention(q, k, v, documents, s, out, lse, exec);
  for (auto _ : state) {
    if (pass != Pass::backward) attention(q, k, v, documents, s, out, lse, exec);
    if (pass == Pass::forward) continue;
    attention_backward(q, k, v, out, lse, dout, documents, s, part(grad.view(), 0),
                       part(grad.view(), 1), part(grad.view(), 2), exec);
  }
  const double products = pass == Pass::forward ? 2 : pass == Pass::backward ? 5 : 7;
  const double pairs = static_cast<double>(tokens) * static_cast<double>(tokens + 1) / 2;
  count(state, "GFLOP/s", 2 * products * pairs * static_cast<double>(q_cols));
}

constexpr int64_t kReadBytes = 256 << 20;  // far more than L3

void read_only(benchmark::State& state, int threads) {
  ThreadPool pool(threads);
  Tensor t = ramp(DType::f32, 1, kReadBytes / 4);
  constexpr int64_t kPiece = 128 << 10;
  for (auto _ : state) {
    pool.parallel_for(kReadBytes / kPiece, [&](int64_t i) {
      const std::byte* const p = t.bytes().data() + i * kPiece;
      __m256i sums[4] = {};
      for (int64_t k = 0; k < kPiece; k += 128) {
        for (int64_t j = 0; j < 4; ++j) {
          sums[j] = _mm256_xor_si256(
              sums[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(p + k + 32 * j)));
        }
      }
      for (__m256i& s : sums) benchmark::DoNotOptimize(s);
    });
  }
  count(state, "GB/s", kReadBytes);
}

/// One token of each of several layers, whose caches together are larger than L3.
void decode(benchmark::State& state, HeadShape s, int64_t keys, DType dtype, int threads) {
  ThreadPool pool(threads);
  const int64_t rows = s.kv_heads * keys;
  const int64_t layers =
      std::max<int64_t>(1, kReadBytes / (2 * bytes_of(dtype, rows * s.head_dim)));
  Tensor k = ramp(dtype, layers * rows, s.head_dim), v = ramp(dtype, layers * rows, s.head_dim);
  const Tensor q = ramp(dtype, 1, s.heads * s.head_dim);
  Tensor out(dtype, 1, s.heads * s.head_dim);
  for (auto _ : state) {
    for (int64_t i = 0; i < layers; ++i) {
      const CachedSequence c{
          0,   1, keys - 1, k.view().row_range(i * rows, rows), v.view().row_range(i * rows, rows),
          keys};
      attention_cached(q, {&c, 1}, s, out, {pool});
    }
  }
  count(state, "GB/s", static_cast<double>(2 * k.size_bytes()));
}

std::string name(const HeadShape& s) {
  return "H" + std::to_string(s.heads) + "K" + std::to_string(s.kv_heads) + "D" +
         std::to_string(s.head_dim);
}

void add_all() {
  if (current_isa() != Isa::avx2) benchmark::RegisterBenchmark("peak/f32", peak_avx512);
  const struct {
    const char* name;
    Pass pass;
  } passes[] = {{"forward", Pass::forward}, {"backward", Pass::backward}, {"both", Pass::both}};
  for (const int threads : {1, 2}) {
    const std::string end = "/threads:" + std::to_string(threads);
    const auto real = [&](auto* b) {
      if (threads > 1) b->UseRealTime();
    };
    for (const HeadShape& s : {HeadShape{9, 3, 64}, HeadShape{32, 8, 64}, HeadShape{32, 8, 128}}) {
      for (const int64_t tokens : {512, 2048}) {
        for (const auto& p : passes) {
          for (const DType dtype : {DType::f32, DType::bf16}) {
            real(benchmark::RegisterBenchmark(
                (std::string(p.name) + "/" + name(s) + "/T" + std::to_string(tokens) +
                 (dtype == DType::f32 ? "/f32" : "/bf16") + end)
                    .c_str(),
                document, p.pass, s, tokens, dtype, threads));
          }
        }
      }
      for (const DType dtype : {DType::f32, DType::bf16}) {
        real(benchmark::RegisterBenchmark(
            ("decode/" + name(s) + "/4096 keys" + (dtype == DType::f32 ? "/f32" : "/bf16") + end)
                .c_str(),
            decode, s, 4096, dtype, threads));
      }
    }
    benchmark::RegisterBenchmark(("read" + end).c_str(), read_only, threads)->UseRealTime();
  }
}

}  // namespace
}  // namespace cria::ops

int main(int argc, char** argv) {
  benchmark::AddCustomContext("isa", std::string(cria::name_of(cria::current_isa())));
  cria::ops::add_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
