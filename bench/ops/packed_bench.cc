// Speed of the product with packed weights: many rows in multiply-adds a second, few rows in bytes of weights a second.
//
//   taskset -c 0 ops_packed_bench --benchmark_filter=prompt
//
// One-thread lines count the thread's own processor time. Peaks stand in ops_linear_bench and `cria bench`.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "ops/packed.h"

namespace cria::ops {
namespace {

constexpr DType kTypes[] = {DType::bf16, DType::q8_0, DType::q4_0,      DType::q4_1,
                            DType::q4_k, DType::q6_k, DType::int4_g128, DType::int8_g128};

PackedMatrix weights(DType type, int64_t rows, int64_t cols) {
  PackedMatrix w(type, rows, cols);
  std::vector<std::byte> row(static_cast<size_t>(bytes_of(type, cols)));
  uint32_t s = 1;
  // Small bytes: whatever they mean, scales stay finite.
  for (std::byte& b : row)
    b = static_cast<std::byte>((s = s * 1664525u + 1013904223u) >> 24 & 0x3b);
  // Of f32 scales such bytes would make subnormal ones, which are slow.
  for (size_t i = 0; is_int_group(type) && i < row.size();
       i += static_cast<size_t>(block_bytes(type))) {
    const float scale = 0.01F;
    std::memcpy(&row[i], &scale, sizeof(scale));
  }
  for (int64_t r = 0; r < rows; ++r) w.put_rows(r, row);
  return w;
}

Tensor ramp(DType dtype, int64_t rows, int64_t cols) {
  Tensor t(dtype, rows, cols);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float value = static_cast<float>(i * 37 % 101) / 50 - 1;
    if (dtype == DType::f32) {
      t.span<float>()[static_cast<size_t>(i)] = value;
    } else {
      t.span<bf16>()[static_cast<size_t>(i)] = bf16(value);
    }
  }
  return t;
}

void prompt(benchmark::State& state, DType type, int64_t rows, int64_t depth, int64_t outs,
            int threads) {
  ThreadPool pool(threads);
  const PackedMatrix w = weights(type, outs, depth);
  const Tensor x = ramp(type == DType::bf16 ? DType::bf16 : DType::f32, rows, depth);
  Tensor y(DType::f32, rows, outs);
  linear_packed(x, w, y, {pool});
  for (auto _ : state) linear_packed(x, w, y, {pool});
  state.counters["Gop/s"] = benchmark::Counter(
      2e-9 * static_cast<double>(rows * depth * outs) * static_cast<double>(state.iterations()),
      benchmark::Counter::kIsRate);
}

/// `megabytes` of weights in turn: 256 come from memory, 0 is one small matrix that stays in the second cache.
void decode(benchmark::State& state, DType type, int64_t rows, int threads, int64_t megabytes) {
  const int64_t kWide = megabytes == 0 ? 512 : 2048;
  ThreadPool pool(threads);
  std::vector<PackedMatrix> ws;
  double bytes = 0;
  do {
    ws.push_back(weights(type, kWide, kWide));
    bytes += static_cast<double>(ws.back().size_bytes());
  } while (bytes < static_cast<double>(megabytes << 20));
  const Tensor x = ramp(type == DType::bf16 ? DType::bf16 : DType::f32, rows, kWide);
  Tensor y(DType::f32, rows, kWide);
  for (auto _ : state) {
    for (const PackedMatrix& w : ws) linear_packed(x, w, y, {pool});
  }
  state.counters["GB/s"] = benchmark::Counter(
      1e-9 * bytes * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace
}  // namespace cria::ops

int main(int argc, char** argv) {
  using namespace cria;
  for (const DType type : ops::kTypes) {
    const std::string name(name_of(type));
    for (const int threads : {1, 2}) {
      const auto line = [&](const std::string& what, auto body) {
        auto* b = benchmark::RegisterBenchmark(
            (what + "/threads:" + std::to_string(threads)).c_str(), body);
        threads == 1 ? b->Unit(benchmark::kMillisecond)
                     : b->Unit(benchmark::kMillisecond)->UseRealTime();
      };
      for (const auto& [depth, outs] :
           {std::pair<int64_t, int64_t>{2048, 2048}, {8192, 2048}, {576, 1536}})
        line("prompt/" + name + "/512x" + std::to_string(depth) + "x" + std::to_string(outs),
             [=](benchmark::State& s) { ops::prompt(s, type, 512, depth, outs, threads); });
      for (const int64_t rows : {1, 2, 4, 8, 16})
        line("decode/" + name + "/rows:" + std::to_string(rows),
             [=](benchmark::State& s) { ops::decode(s, type, rows, threads, 256); });
      line("cached/" + name, [=](benchmark::State& s) { ops::decode(s, type, 1, threads, 0); });
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("isa", std::string(name_of(current_isa())));
  benchmark::RunSpecifiedBenchmarks();
}
