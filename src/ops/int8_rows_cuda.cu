// Rows of caches in 8 bits (ops/int8_rows.h): rounded with the processor's bits, and opened again for prompts.
#include <cmath>

#include "ops/cuda/int8_rows.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
static_assert(ops::kInt8Group == kWarp);

// A warp for each group of each row; a lane has one of its numbers.
__global__ void __launch_bounds__(kThreads)
    round_groups(ConstRows x, int64_t rows, int dim, int8_t* to, int64_t to_stride) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t groups = (dim + kWarp - 1) / kWarp;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const int64_t row = at / groups, group = at % groups;
  if (row >= rows) return;
  const int d = static_cast<int>(group) * kWarp + lane;
  const float value = d < dim ? load_one(x.data, x.type, row * x.stride + d) : 0.0f;
  const float largest = warp_max(fabsf(value));
  const float bad = warp_max(value - value == 0 ? 0.0f : 1.0f);
  constexpr uint16_t nan = 0x7e00;
  const uint16_t rounded_scale = f16_bits(largest / 127.0f);
  const float scale = f16_value(rounded_scale);
  const bool fits = bad == 0 && scale - scale == 0;
  int8_t* const numbers = to + row * to_stride;
  if (d < dim) {
    const float n = fits && scale > 0 ? rintf(value / scale) : 0.0f;
    numbers[d] = static_cast<int8_t>(fminf(fmaxf(n, -127.0f), 127.0f));
  }
  if (lane == 0)
    reinterpret_cast<uint16_t*>(numbers + padded(dim))[group] = fits ? rounded_scale : nan;
}

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

void round_to_int8(Stream& stream, ConstView x, View to) {
  const int64_t groups = (x.cols + kWarp - 1) / kWarp;
  launch(round_groups, blocks_for(x.rows * groups, kWarps), kThreads, 0, stream.handle(),
         rows_of(x), x.rows, static_cast<int>(x.cols), static_cast<int8_t*>(to.data), to.stride);
}

void open_int8_rows(Stream& stream, ConstView from, int64_t capacity, int64_t keys, View to) {
  const dim3 grid(blocks_for(to.cols, kThreads), grid_rows(to.rows), 1);
  launch(open_rows, grid, kThreads, 0, stream.handle(), static_cast<const int8_t*>(from.data),
         from.stride, capacity * from.stride, keys, to.rows, static_cast<int>(to.cols),
         rows_of(to));
}

}  // namespace cria::cuda
