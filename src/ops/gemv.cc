#include "ops/gemv.h"

#include <algorithm>

#include "ops/gemv_kernels.h"

namespace cria::ops {
namespace {

constexpr int64_t kBlockBytes = 128 << 10;  // of w, one thread's piece: a few microseconds
constexpr int64_t kAloneBytes = 128 << 10;  // less of w than this is not worth a second thread

/// Rows of x as the kernels want them for such w.
struct Prepared {
  const float* rows;
  int64_t stride;
};

Prepared prepare(ConstView x, DType w) {
  thread_local Tensor memory;  // kept, so that only the first steps allocate
  const GemvKernels& kernels = gemv_kernels();
  // A line more than needed: rows a page apart would share one set of the first cache.
  const int64_t stride = kernels.prepared_floats(x.dtype, w, x.cols) + 16;
  if (memory.cols() < x.rows * stride) memory = Tensor(DType::f32, 1, x.rows * stride);
  float* const rows = memory.span<float>().data();
  for (int64_t t = 0; t < x.rows; ++t) {
    kernels.prepare(x.at(t, 0), x.dtype, w, x.cols, rows + t * stride);
  }
  return {rows, stride};
}

}  // namespace

void gemv(ConstView x, ConstView w, View y, Into into, ThreadPool& pool) {
  if (y.rows == 0 || y.cols == 0) return;
  const Prepared prepared = prepare(x, w.dtype);
  const int64_t row_bytes = std::max<int64_t>(1, bytes_of(w.dtype, w.cols));
  const int64_t block = std::max<int64_t>(1, kBlockBytes / row_bytes);
  const auto body = [&](int64_t i) {
    const int64_t first = i * block;
    GemvJob job;
    job.x = prepared.rows;
    job.x_stride = prepared.stride;
    job.x_rows = x.rows;
    job.x_dtype = x.dtype;
    job.w = w.at(first, 0);
    job.w_dtype = w.dtype;
    job.w_stride = w.stride;
    job.w_rows = std::min(block, w.rows - first);
    job.depth = w.cols;
    job.y = y.at(0, first);
    job.y_dtype = y.dtype;
    job.y_stride = y.stride;
    job.add = into == Into::add;
    gemv_kernels().dots(job);
  };
  const int64_t blocks = (w.rows + block - 1) / block;
  if (row_bytes * w.rows * x.rows < kAloneBytes) {
    for (int64_t i = 0; i < blocks; ++i) body(i);
  } else {
    pool.parallel_for(blocks, body);
  }
}

}  // namespace cria::ops
