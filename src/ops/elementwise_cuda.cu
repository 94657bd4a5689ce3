// Copies with conversion, and sums: eight numbers a thread.
#include <vector>

#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kStep = kThreads * 8;

__global__ void __launch_bounds__(kThreads)
    convert_kernel(ConstRows from, Rows to, int64_t rows, int64_t cols) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (col >= cols) return;
  float v[8];
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    load8(from, row, col, cols, v);
    store8(to, row, col, cols, v);
  }
}

__global__ void __launch_bounds__(kThreads)
    add_kernel(Rows x, ConstRows y, int64_t rows, int64_t cols) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (col >= cols) return;
  float a[8], b[8];
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    load8(x, row, col, cols, a);
    load8(y, row, col, cols, b);
    for (int i = 0; i < 8; ++i) a[i] += b[i];
    store8(x, row, col, cols, a);
  }
}

// What a thread writes nobody else reads, so `to` may be one of the terms.
__global__ void __launch_bounds__(kThreads)
    sum_kernel(const ConstRows* terms, int count, Rows to, int64_t rows, int64_t cols) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (col >= cols) return;
  float sum[8], term[8];
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    load8(terms[0], row, col, cols, sum);
    for (int t = 1; t < count; ++t) {
      load8(terms[t], row, col, cols, term);
      for (int i = 0; i < 8; ++i) sum[i] += term[i];
    }
    store8(to, row, col, cols, sum);
  }
}

__global__ void __launch_bounds__(kThreads)
    zero_kernel(unsigned char* bytes, int64_t stride, int64_t rows, int64_t size) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= size) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) bytes[row * stride + at] = 0;
}

}  // namespace

void convert(Stream& stream, ConstView from, View to) {
  if (from.contiguous() && to.contiguous()) {
    from = one_row(from);
    to = one_row(to);
  }
  launch(convert_kernel, dim3(blocks_for(to.cols, kStep), grid_rows(to.rows)), kThreads, 0, stream,
         rows_of(from), rows_of(to), to.rows, to.cols);
}

void add(Stream& stream, View x, ConstView y) {
  if (x.contiguous() && y.contiguous()) {
    x = one_row(x);
    y = one_row(y);
  }
  launch(add_kernel, dim3(blocks_for(x.cols, kStep), grid_rows(x.rows)), kThreads, 0, stream,
         rows_of(x), rows_of(y), x.rows, x.cols);
}

void sum_in_order(Stream& stream, std::span<const ConstView> terms, View out) {
  bool one = out.contiguous();
  for (const ConstView& term : terms) one &= term.contiguous();
  std::vector<ConstRows> rows;
  for (const ConstView& term : terms) rows.push_back(rows_of(one ? one_row(term) : term));
  if (one) out = one_row(out);
  const ConstRows* const there = stream.upload(std::span<const ConstRows>(rows));
  launch(sum_kernel, dim3(blocks_for(out.cols, kStep), grid_rows(out.rows)), kThreads, 0, stream,
         there, static_cast<int>(rows.size()), rows_of(out), out.rows, out.cols);
}

void fill_zero(Stream& stream, View x) {
  const auto element = static_cast<int64_t>(block_bytes(x.dtype));
  if (x.elements() == 0) return;
  if (x.contiguous()) {
    cuda_check(
        cudaMemsetAsync(x.data, 0, static_cast<size_t>(x.elements() * element), stream.handle()),
        "cudaMemsetAsync");
    return;
  }
  launch(zero_kernel, dim3(blocks_for(x.cols * element, kThreads), grid_rows(x.rows)), kThreads, 0,
         stream, static_cast<unsigned char*>(x.data), x.stride * element, x.rows, x.cols * element);
}

}  // namespace cria::cuda
