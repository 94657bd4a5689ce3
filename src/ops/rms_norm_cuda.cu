// RMS normalisation on a GPU: a block for each row, eight numbers at a time. The weight's gradient is summed over fixed runs of
// rows, and then over the runs in order.
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"
#include "ops/rms_norm.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kStep = kThreads * 8;  // columns that a block moves on by
constexpr int kSumSpace = kThreads / kWarp * 4;

// branch.data null: nothing is added to x.
__global__ void __launch_bounds__(kThreads)
    normalise(Rows x, ConstRows branch, ConstRows weight, float eps, Rows y, float* rstd,
              int64_t cols) {
  const int64_t row = blockIdx.x;
  const int64_t first = threadIdx.x * 8;
  const auto space = shared_array<float>(0, kThreads / kWarp);
  float squares = 0, v[8], b[8];
  for (int64_t c = first; c < cols; c += kStep) {
    load8(x, row, c, cols, v);
    if (branch.data != nullptr) {
      load8(branch, row, c, cols, b);
      for (int i = 0; i < 8; ++i) v[i] = rounded(v[i] + b[i], x.type);
      store8(x, row, c, cols, v);
    }
    for (int i = 0; i < 8; ++i) squares += v[i] * v[i];
  }
  squares = block_sum(squares, space);
  const float r = rsqrtf(squares / static_cast<float>(cols) + eps);
  if (rstd != nullptr && threadIdx.x == 0) rstd[row] = r;
  for (int64_t c = first; c < cols; c += kStep) {
    float w[8];
    load8(x, row, c, cols, v);
    load8(weight, 0, c, cols, w);
    for (int i = 0; i < 8; ++i) v[i] = v[i] * r * w[i];
    store8(y, row, c, cols, v);
  }
}

// dx += rstd * dy * weight - x * (rstd^3 * mean(dy * weight * x))
__global__ void __launch_bounds__(kThreads)
    input_gradient(ConstRows x, ConstRows weight, const float* rstd, ConstRows dy, Rows dx,
                   int64_t cols) {
  const int64_t row = blockIdx.x;
  const int64_t first = threadIdx.x * 8;
  const auto space = shared_array<float>(0, kThreads / kWarp);
  float v[8], g[8], w[8], d[8];
  float dot = 0;
  for (int64_t c = first; c < cols; c += kStep) {
    load8(x, row, c, cols, v);
    load8(dy, row, c, cols, g);
    load8(weight, 0, c, cols, w);
    for (int i = 0; i < 8; ++i) dot += g[i] * w[i] * v[i];
  }
  dot = block_sum(dot, space);
  const float r = rstd[row];
  const float along_x = -(r * r) * (dot / static_cast<float>(cols));
  for (int64_t c = first; c < cols; c += kStep) {
    load8(x, row, c, cols, v);
    load8(dy, row, c, cols, g);
    load8(weight, 0, c, cols, w);
    load8(dx, row, c, cols, d);
    for (int i = 0; i < 8; ++i) d[i] += g[i] * w[i] * r + v[i] * r * along_x;
    store8(dx, row, c, cols, d);
  }
}

// sums[run, c] = the run's rows of dy * x * rstd. A thread has 8 columns.
__global__ void __launch_bounds__(kThreads)
    weight_gradient(ConstRows x, const float* rstd, ConstRows dy, float* sums, int64_t rows,
                    int64_t rows_in_run, int64_t cols) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  const int64_t begin = blockIdx.y * rows_in_run;
  const int64_t end = begin + rows_in_run < rows ? begin + rows_in_run : rows;
  if (col >= cols) return;
  float sum[8] = {}, v[8], g[8];
  for (int64_t t = begin; t < end; ++t) {
    const float r = rstd[t];
    load8(x, t, col, cols, v);
    load8(dy, t, col, cols, g);
    for (int i = 0; i < 8; ++i) sum[i] += g[i] * (v[i] * r);
  }
  for (int i = 0; i < 8; ++i) {
    if (col + i < cols) sums[blockIdx.y * cols + col + i] = sum[i];
  }
}

__global__ void __launch_bounds__(kThreads)
    add_runs(const float* sums, int64_t runs, float* dweight, int64_t cols) {
  const int64_t col = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (col >= cols) return;
  float sum = 0;
  for (int64_t run = 0; run < runs; ++run) sum += sums[run * cols + col];
  dweight[col] += sum;
}

}  // namespace

void rms_norm(Stream& stream, View x, ConstView branch, ConstView weight, float eps, View y,
              View rstd) {
  launch(normalise, blocks_for(x.rows, 1), kThreads, kSumSpace, stream, rows_of(x), rows_of(branch),
         rows_of(weight), eps, rows_of(y), static_cast<float*>(rstd.data), x.cols);
}

void rms_norm_backward(Stream& stream, ConstView x, ConstView weight, ConstView rstd, ConstView dy,
                       View dx, View dweight) {
  const auto* rstds = static_cast<const float*>(rstd.data);
  launch(input_gradient, blocks_for(x.rows, 1), kThreads, kSumSpace, stream, rows_of(x),
         rows_of(weight), rstds, rows_of(dy), rows_of(dx), x.cols);
  // Enough runs to fill the largest device at 4096 columns, few enough to be added quickly.
  const int64_t rows_in_run = x.rows < 128 * 16 ? 16 : (x.rows + 127) / 128;
  const int64_t runs = (x.rows + rows_in_run - 1) / rows_in_run;
  auto* const sums = stream.scratch<float>(runs * x.cols);
  launch(weight_gradient, dim3(blocks_for(x.cols, kStep), static_cast<unsigned>(runs)), kThreads, 0,
         stream, rows_of(x), rstds, rows_of(dy), sums, x.rows, rows_in_run, x.cols);
  launch(add_runs, blocks_for(x.cols, kThreads), kThreads, 0, stream, sums, runs,
         static_cast<float*>(dweight.data), x.cols);
}

}  // namespace cria::cuda
