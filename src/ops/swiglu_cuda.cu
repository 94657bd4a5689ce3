// The gated activation: eight numbers a thread.
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// gate and up: the halves of a row, windows of their own.
__global__ void __launch_bounds__(kThreads)
    forward(ConstRows gate, ConstRows up, Rows out, int64_t rows, int64_t cols) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (col >= cols) return;
  float g[8], u[8];
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    load8(gate, row, col, cols, g);
    load8(up, row, col, cols, u);
    for (int i = 0; i < 8; ++i) g[i] = g[i] * sigmoid(g[i]) * u[i];
    store8(out, row, col, cols, g);
  }
}

__global__ void __launch_bounds__(kThreads)
    backward(ConstRows gate, ConstRows up, ConstRows dout, Rows d_gate, Rows d_up, int64_t rows,
             int64_t cols) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (col >= cols) return;
  float g[8], u[8], d[8];
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    load8(gate, row, col, cols, g);
    load8(up, row, col, cols, u);
    load8(dout, row, col, cols, d);
    for (int i = 0; i < 8; ++i) {
      const float s = sigmoid(g[i]), x = g[i];
      g[i] = d[i] * u[i] * s * (1.0f + x * (1.0f - s));
      u[i] = d[i] * x * s;
    }
    store8(d_gate, row, col, cols, g);
    store8(d_up, row, col, cols, u);
  }
}

dim3 grid_of(ConstView v) { return {blocks_for(v.cols, kThreads * 8), grid_rows(v.rows), 1}; }

}  // namespace

void swiglu(Stream& stream, ConstView gate_up, View out) {
  launch(forward, grid_of(out), kThreads, 0, stream, rows_of(gate_up.col_range(0, out.cols)),
         rows_of(gate_up.col_range(out.cols, out.cols)), rows_of(out), out.rows, out.cols);
}

void swiglu_backward(Stream& stream, ConstView gate_up, ConstView dout, View d_gate_up) {
  const int64_t width = dout.cols;
  launch(backward, grid_of(dout), kThreads, 0, stream, rows_of(gate_up.col_range(0, width)),
         rows_of(gate_up.col_range(width, width)), rows_of(dout),
         rows_of(d_gate_up.col_range(0, width)), rows_of(d_gate_up.col_range(width, width)),
         dout.rows, width);
}

}  // namespace cria::cuda
