// Speed of the matrix products beside two judges: the processor's own peak (loops of independent
// fused multiply-adds, a loop that only reads) and OpenBLAS.
//
//   OPENBLAS_NUM_THREADS=1 taskset -c 0 ops_linear_bench --benchmark_enable_random_interleaving=true
//     --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
//
// Leave OPENBLAS_CORETYPE unset, or OpenBLAS runs kernels of another processor. One-thread lines
// count the thread's own processor time, so that a busy machine disturbs them little; lines with
// more threads count real time.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/cpu.h"
#include "measure/peak.h"
#include "ops/linear.h"

#ifdef CRIA_HAVE_OPENBLAS
extern "C" {
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);
const char* openblas_get_corename();
}
#endif

namespace cria::ops {
namespace {

enum class Form { nt, nn, tn };

struct Shape {
  int64_t m, k, n;
};
constexpr Shape kShapes[] = {
    {512, 576, 1536}, {512, 1536, 576}, {1024, 2048, 2048}, {512, 576, 49152}, {512, 49152, 576}};

Tensor ramp(DType dtype, int64_t rows, int64_t cols) {
  Tensor t(dtype, rows, cols);
  uint32_t s = 1;
  for (int64_t i = 0; i < rows * cols; ++i) {
    s = s * 1664525u + 1013904223u;
    const float value = static_cast<float>(s >> 8) / (1 << 23) - 1.0f;
    if (dtype == DType::f32) {
      t.span<float>()[i] = value;
    } else {
      t.span<bf16>()[i] = bf16(value);
    }
  }
  return t;
}

void count_flops(benchmark::State& state, const Shape& s) {
  const auto flops = 2.0 * static_cast<double>(s.m) * static_cast<double>(s.k) *
                     static_cast<double>(s.n) * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsRate);
}

void product(benchmark::State& state, Form form, Shape s, DType in, DType out, int threads) {
  ThreadPool pool(threads);
  const Tensor a = form == Form::tn ? ramp(in, s.k, s.m) : ramp(in, s.m, s.k);
  const Tensor b = form == Form::nt ? ramp(in, s.n, s.k) : ramp(in, s.k, s.n);
  Tensor c(out, s.m, s.n);
  const auto run = [&] {
    const Exec exec{pool};
    switch (form) {
      case Form::nt:
        return linear(a, b, c, exec);
      case Form::nn:
        return linear_input_grad(a, b, c, exec);
      case Form::tn:
        return linear_weight_grad(a, b, c, exec);
    }
  };
  run();  // touches c's pages and makes the packing buffers
  for (auto _ : state) run();
  count_flops(state, s);
}

#ifdef CRIA_HAVE_OPENBLAS
void openblas(benchmark::State& state, Form form, Shape s) {
  const Tensor a = form == Form::tn ? ramp(DType::f32, s.k, s.m) : ramp(DType::f32, s.m, s.k);
  const Tensor b = form == Form::nt ? ramp(DType::f32, s.n, s.k) : ramp(DType::f32, s.k, s.n);
  Tensor c(DType::f32, s.m, s.n);
  constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;
  const auto run = [&] {
    cblas_sgemm(kRowMajor, form == Form::tn ? kTransposed : kPlain,
                form == Form::nt ? kTransposed : kPlain, static_cast<int>(s.m),
                static_cast<int>(s.n), static_cast<int>(s.k), 1.0f, a.span<float>().data(),
                static_cast<int>(a.cols()), b.span<float>().data(), static_cast<int>(b.cols()),
                0.0f, c.span<float>().data(), static_cast<int>(s.n));
  };
  run();
  for (auto _ : state) run();
  count_flops(state, s);
}
#endif

void peak(benchmark::State& state, ComputeLoop loop) {
  for (auto _ : state) benchmark::DoNotOptimize(loop.run());
  const double operations =
      static_cast<double>(loop.operations) * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsRate);
}

constexpr int64_t kReadBytes = 256 << 20;  // far more than L3

void report_bytes(benchmark::State& state, int64_t bytes) {
  state.counters["GB/s"] = benchmark::Counter(
      static_cast<double>(bytes) * 1e-9 * static_cast<double>(state.iterations()),
      benchmark::Counter::kIsRate);
}

/// Reads memory and does nothing else: the ceiling of decoding.
void read_only(benchmark::State& state, int threads) {
  ThreadPool pool(threads);
  const ReadLoop loop(pool);
  for (auto _ : state) loop.run(pool);
  report_bytes(state, loop.size_bytes());
}

/// w streams: many matrices one after the other, together larger than L3, as a model's layers.
void decode(benchmark::State& state, DType dtype, int64_t rows, int64_t width, int threads) {
  ThreadPool pool(threads);
  const int64_t matrices = std::max<int64_t>(1, kReadBytes / bytes_of(dtype, width * width));
  const Tensor w = ramp(dtype, matrices * width, width);
  const Tensor x = ramp(dtype, rows, width);
  Tensor y(DType::f32, rows, width);
  for (auto _ : state) {
    for (int64_t i = 0; i < matrices; ++i) {
      linear_decode(x, w.view().row_range(i * width, width), y, {pool});
    }
  }
  report_bytes(state, static_cast<int64_t>(w.size_bytes()));
}

/// A matrix that fits the cache: what a call costs besides memory.
void decode_cached(benchmark::State& state, int64_t width, int threads) {
  ThreadPool pool(threads);
  const Tensor w = ramp(DType::bf16, width, width);
  const Tensor x = ramp(DType::bf16, 1, width);
  Tensor y(DType::f32, 1, width);
  for (auto _ : state) linear_decode(x, w, y, {pool});
  report_bytes(state, static_cast<int64_t>(w.size_bytes()));
}

std::string text(const Shape& s) {
  return std::to_string(s.m) + "x" + std::to_string(s.k) + "x" + std::to_string(s.n);
}

void add_peaks() {
  for (const auto& [name, kind] : {std::pair("peak/f32", Peak::f32), {"peak/bf16", Peak::bf16}}) {
    if (const auto loop = compute_loop(kind)) benchmark::RegisterBenchmark(name, peak, *loop);
  }
}

void add_products() {
  const struct {
    Form form;
    const char* name;
  } forms[] = {{Form::nt, "linear"}, {Form::nn, "input_grad"}, {Form::tn, "weight_grad"}};
  for (const Shape& s : kShapes) {
    for (const auto& f : forms) {
      const std::string what = std::string(f.name) + "/" + text(s);
      for (const int threads : {1, 2}) {
        const auto add = [&](const char* kind, DType in, DType out) {
          auto* const b = benchmark::RegisterBenchmark(
              (std::string(kind) + "/" + what + "/threads:" + std::to_string(threads)).c_str(),
              product, f.form, s, in, out, threads);
          if (threads > 1) b->UseRealTime();
        };
        add("f32", DType::f32, DType::f32);
        add("bf16", DType::bf16, f.form == Form::tn ? DType::f32 : DType::bf16);
      }
#ifdef CRIA_HAVE_OPENBLAS
      benchmark::RegisterBenchmark(("openblas_f32/" + what).c_str(), openblas, f.form, s);
#endif
    }
  }
}

void add_decodes() {
  for (const int threads : {1, 2}) {
    const std::string end = "/threads:" + std::to_string(threads);
    benchmark::RegisterBenchmark(("read" + end).c_str(), read_only, threads)->UseRealTime();
    for (const int64_t rows : {1, 2, 4, 8}) {
      benchmark::RegisterBenchmark(
          ("decode_bf16/2048x2048/rows:" + std::to_string(rows) + end).c_str(), decode, DType::bf16,
          rows, 2048, threads)
          ->UseRealTime();
    }
    benchmark::RegisterBenchmark(("decode_f32/2048x2048/rows:1" + end).c_str(), decode, DType::f32,
                                 1, 2048, threads)
        ->UseRealTime();
    benchmark::RegisterBenchmark(("decode_cached/576x576" + end).c_str(), decode_cached, 576,
                                 threads)
        ->UseRealTime();
    benchmark::RegisterBenchmark(("decode_cached/64x64" + end).c_str(), decode_cached, 64, threads)
        ->UseRealTime();
  }
}

}  // namespace
}  // namespace cria::ops

int main(int argc, char** argv) {
  benchmark::AddCustomContext("isa", std::string(cria::name_of(cria::current_isa())));
#ifdef CRIA_HAVE_OPENBLAS
  benchmark::AddCustomContext("openblas kernels", openblas_get_corename());
#endif
  cria::ops::add_peaks();
  cria::ops::add_products();
  cria::ops::add_decodes();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
