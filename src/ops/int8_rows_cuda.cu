// Rows of caches in 8 bits (ops/int8_rows.h) opened for prompts.
#include "ops/cuda/int8_rows.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;

// to [KV heads * keys, dim] = the numbers of the first keys of each KV head. A block goes on by gridDim.y.
__global__ void __launch_bounds__(kThreads)
    open_rows(const int8_t* from, int64_t stride, int64_t head, int64_t keys, int64_t rows, int dim,
              Rows to) {
  const int d = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (d >= dim) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const int64_t at = row / keys * head + row % keys * stride;
    store_one(to.data, to.type, row * to.stride + d, int8_row_number(from + at, d, dim));
  }
}

}  // namespace

void open_int8_rows(Stream& stream, ConstView from, int64_t capacity, int64_t keys, View to) {
  const dim3 grid(blocks_for(to.cols, kThreads), grid_rows(to.rows), 1);
  launch(open_rows, grid, kThreads, 0, stream, static_cast<const int8_t*>(from.data), from.stride,
         capacity * from.stride, keys, to.rows, static_cast<int>(to.cols), rows_of(to));
}

}  // namespace cria::cuda
