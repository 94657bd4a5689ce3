// Checks, then rows on all threads; in backward the weight's gradient is summed in fixed blocks of
// rows.
#include "ops/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/device.h"
#include "ops/door.h"
#include "ops/elementwise_kernels.h"
#include "ops/elementwise_ref.h"
#include "ops/memory.h"
#include "ops/rms_norm_kernels.h"
#include "ops/rms_norm_ref.h"

namespace cria::ops {
namespace {

// Threads take this many rows at a time.
constexpr int64_t kRows = 16;
int64_t row_blocks(int64_t rows) { return (rows + kRows - 1) / kRows; }

void check_weight(std::string_view op, ConstView x, ConstView weight) {
  require_compute(op, "x", x);
  require_compute(op, "weight", weight);
  require_shape(op, "weight", weight, 1, x.cols);
  require(x.cols > 0, "{}: x has no columns, expected at least one", op);
}

void check_forward(std::string_view op, ConstView x, ConstView weight, View y, View rstd) {
  check_weight(op, x, weight);
  require_compute(op, "y", y);
  require_shape(op, "y", y, x.rows, x.cols);
  if (rstd.data == nullptr) return;
  require_dtype(op, "rstd", rstd, DType::f32);
  require_shape(op, "rstd", rstd, 1, x.rows);
}

// The weight as f32: itself, or a copy that lives until this thread's next call.
const float* weight_f32(ConstView weight) {
  if (weight.dtype == DType::f32) return static_cast<const float*>(weight.data);
  thread_local std::vector<float> copy;
  copy.resize(static_cast<size_t>(weight.cols));
  elementwise_kernels().convert(weight.data, weight.dtype, copy.data(), DType::f32, weight.cols);
  return copy.data();
}

// sum_of_squares(t) sums row t's squares; then y's rows and rstd are written.
template <class SumOfSquares>
void normalise(ConstView x, ConstView weight, float eps, View y, View rstd, const Exec& exec,
               SumOfSquares sum_of_squares) {
  const auto& kernels = rms_norm_kernels();
  const float* w = weight_f32(weight);
  auto* rstds = static_cast<float*>(rstd.data);
  exec.pool.parallel_for(row_blocks(x.rows), [&](int64_t block) {
    const int64_t end = std::min(x.rows, (block + 1) * kRows);
    for (int64_t t = block * kRows; t < end; ++t) {
      const float r = 1 / std::sqrt(sum_of_squares(t) / static_cast<float>(x.cols) + eps);
      if (rstds != nullptr) rstds[t] = r;
      kernels.scale(x.at(t, 0), x.dtype, w, r, y.at(t, 0), y.dtype, x.cols);
    }
  });
}

}  // namespace

void rms_norm(ConstView x, ConstView weight, float eps, View y, View rstd, const Exec& exec) {
  check_forward("rms_norm", x, weight, y, rstd);
  if (exec.device != nullptr) return exec.device->rms_norm(x, weight, eps, y, rstd);
  if (exec.reference) return rms_norm_ref(x, weight, eps, y, rstd);
  const auto& kernels = rms_norm_kernels();
  normalise(x, weight, eps, y, rstd, exec,
            [&](int64_t t) { return kernels.sum_of_squares(x.at(t, 0), x.dtype, x.cols); });
}

void add_rms_norm(View x, ConstView branch, ConstView weight, float eps, View y, View rstd,
                  const Exec& exec) {
  check_forward("add_rms_norm", x, weight, y, rstd);
  require_compute("add_rms_norm", "branch", branch);
  require_shape("add_rms_norm", "branch", branch, x.rows, x.cols);
  if (exec.device != nullptr) return exec.device->add_rms_norm(x, branch, weight, eps, y, rstd);
  if (exec.reference) {
    add_ref(x, branch);
    return rms_norm_ref(x, weight, eps, y, rstd);
  }
  const auto& kernels = rms_norm_kernels();
  normalise(x, weight, eps, y, rstd, exec, [&](int64_t t) {
    return kernels.add_sum_of_squares(x.at(t, 0), x.dtype, branch.at(t, 0), branch.dtype, x.cols);
  });
}

namespace {

// The sums of dweight over fixed blocks of rows, [blocks, hidden], kept from call to call.
struct Partials {
  int64_t block_rows, blocks, hidden;
  float* data;
  // At most 64 blocks: little memory.
  static int64_t rows_in_block(int64_t rows) { return std::max(kRows, (rows + 63) / 64); }
  static int64_t blocks_of(int64_t rows) {
    return (rows + rows_in_block(rows) - 1) / rows_in_block(rows);
  }
  Partials(int64_t rows, int64_t cols)
      : block_rows(rows_in_block(rows)), blocks(blocks_of(rows)), hidden(cols) {
    thread_local std::vector<float> memory;
    memory.resize(std::max(memory.size(), static_cast<size_t>(blocks * hidden)));
    data = memory.data();
  }
};

// dweight += the blocks' sums in order; threads share the columns.
void add_partials(const Partials& partials, float* dweight, const Exec& exec) {
  constexpr int64_t columns = 256;
  const auto& kernels = elementwise_kernels();
  exec.pool.parallel_for((partials.hidden + columns - 1) / columns, [&](int64_t part) {
    const int64_t c = part * columns, n = std::min(columns, partials.hidden - c);
    for (int64_t b = 1; b < partials.blocks; ++b) {
      kernels.add(partials.data + c, DType::f32, partials.data + b * partials.hidden + c,
                  DType::f32, n);
    }
    kernels.add(dweight + c, DType::f32, partials.data + c, DType::f32, n);
  });
}

}  // namespace

int64_t rms_norm_backward_memory(int64_t rows, int64_t hidden) {
  return rows == 0 ? 0 : 4 * Partials::blocks_of(rows) * hidden;
}

void rms_norm_backward(ConstView x, ConstView weight, ConstView rstd, ConstView dy, View dx,
                       View dweight, const Exec& exec) {
  constexpr std::string_view op = "rms_norm_backward";
  check_weight(op, x, weight);
  require_dtype(op, "rstd", rstd, DType::f32);
  require_shape(op, "rstd", rstd, 1, x.rows);
  require_compute(op, "dy", dy);
  require_shape(op, "dy", dy, x.rows, x.cols);
  require_compute(op, "dx", dx);
  require_shape(op, "dx", dx, x.rows, x.cols);
  require_dtype(op, "dweight", dweight, DType::f32);
  require_shape(op, "dweight", dweight, 1, x.cols);
  if (exec.reference) return rms_norm_backward_ref(x, weight, rstd, dy, dx, dweight);
  if (x.rows == 0) return;
  if (exec.device != nullptr)
    return exec.device->rms_norm_backward(x, weight, rstd, dy, dx, dweight);

  const auto& kernels = rms_norm_kernels();
  const Partials partials(x.rows, x.cols);
  const float* w = weight_f32(weight);
  const auto* rstds = static_cast<const float*>(rstd.data);
  exec.pool.parallel_for(partials.blocks, [&](int64_t block) {
    float* sum = partials.data + block * x.cols;
    std::fill_n(sum, x.cols, 0.0f);
    const int64_t end = std::min(x.rows, (block + 1) * partials.block_rows);
    for (int64_t t = block * partials.block_rows; t < end; ++t) {
      kernels.backward({x.at(t, 0), x.dtype, dy.at(t, 0), dy.dtype, dx.at(t, 0), dx.dtype, w,
                        rstds[t], sum, x.cols});
    }
  });
  add_partials(partials, static_cast<float*>(dweight.data), exec);
}

}  // namespace cria::ops
