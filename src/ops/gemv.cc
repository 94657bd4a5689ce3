#include "ops/gemv.h"

#include <algorithm>

#include "ops/gemv_kernels.h"

namespace cria::ops {
namespace {

constexpr int64_t kBlockBytes = 128 << 10;  // of w, one thread's piece: a few microseconds
constexpr int64_t kAloneBytes = 128 << 10;  // less of w than this is not worth a second thread

thread_local Tensor widened;  // x as f32; kept, so that only the first steps allocate

/// x itself where it is f32 already.
ConstView as_f32(ConstView x) {
  if (x.dtype == DType::f32) return x;
  if (widened.cols() < x.elements()) widened = Tensor(DType::f32, 1, x.elements());
  const View to(widened.view().data, DType::f32, x.rows, x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    gemv_kernels().widen(x.at(t, 0), x.dtype, x.cols, to.row<float>(t).data());
  }
  return to;
}

}  // namespace

void gemv(ConstView x, ConstView w, View y, Into into, ThreadPool& pool) {
  if (y.rows == 0 || y.cols == 0) return;
  const ConstView wide = as_f32(x);
  const int64_t row_bytes = std::max<int64_t>(1, bytes_of(w.dtype, w.cols));
  const int64_t block = std::max<int64_t>(1, kBlockBytes / row_bytes / 4) * 4;
  const auto body = [&](int64_t i) {
    const int64_t first = i * block;
    GemvJob job;
    job.x = static_cast<const float*>(wide.data);
    job.x_stride = wide.stride;
    job.x_rows = wide.rows;
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
