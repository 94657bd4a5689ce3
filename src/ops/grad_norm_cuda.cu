// Sums of squares of rows, in f64: a block for each row, threads in a fixed order.
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) row_squares(ConstRows x, int64_t cols, double* sums) {
  const int64_t row = blockIdx.x;
  const auto space = shared_array<double>(0, kThreads / kWarp);
  double sum = 0;
  float v[8];
  for (int64_t c = threadIdx.x * 8; c < cols; c += kThreads * 8) {
    load8(x, row, c, cols, v);
    for (int i = 0; i < 8; ++i) sum += static_cast<double>(v[i]) * static_cast<double>(v[i]);
  }
  sum = block_sum(sum, space);
  if (threadIdx.x == 0) sums[row] = sum;
}

}  // namespace

void row_norms(Stream& stream, ConstView x, double* sums) {
  launch(row_squares, blocks_for(x.rows, 1), kThreads, kThreads / kWarp * 8, stream.handle(),
         rows_of(x), x.cols, sums);
}

}  // namespace cria::cuda
