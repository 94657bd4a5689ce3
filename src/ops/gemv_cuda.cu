// The product of a decode step: a warp for each row of w, which it reads once for up to eight rows of x. A row of x meets the
// same lanes in the same order however many rows there are.
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRows = 8;  // of x at once

__global__ void __launch_bounds__(kThreads, 4)
    dot_rows(ConstRows x, ConstRows w, Rows y, int64_t first_row, int64_t rows, int64_t outputs,
             int64_t inputs, bool add) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t o = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (o >= outputs) return;
  float sums[kRows] = {}, a[8], b[8];
  for (int64_t i = lane * 8; i < inputs; i += kWarp * 8) {
    load8(w, o, i, inputs, b);
    for (int t = 0; t < kRows; ++t) {
      if (t >= rows) break;
      load8(x, first_row + t, i, inputs, a);
      for (int e = 0; e < 8; ++e) sums[t] += a[e] * b[e];
    }
  }
  for (int t = 0; t < kRows; ++t) {
    const float sum = warp_sum(sums[t]);
    if (t >= rows || lane != 0) continue;
    const int64_t at = (first_row + t) * y.stride + o;
    store_one(y.data, y.type, at, add ? load_one(y.data, y.type, at) + sum : sum);
  }
}

}  // namespace

void gemv(Stream& stream, ConstView x, ConstView w, View y, ops::Into into) {
  for (int64_t first = 0; first < x.rows; first += kRows) {
    const int64_t rows = x.rows - first < kRows ? x.rows - first : kRows;
    launch(dot_rows, blocks_for(w.rows, kWarps), kThreads, 0, stream, rows_of(x), rows_of(w),
           rows_of(y), first, rows, w.rows, w.cols, into == ops::Into::add);
  }
}

}  // namespace cria::cuda
