// Rows (long ones in parts of 16 Ki elements) on all threads, their sums added exactly.
#include "ops/grad_norm.h"

#include <algorithm>
#include <vector>

#include "ops/device.h"
#include "ops/door.h"
#include "ops/grad_norm_kernels.h"
#include "ops/grad_norm_ref.h"

namespace cria::ops {

namespace {

void add_rows(ConstView x, ExactSum& sum, const Exec& exec) {
  if (exec.reference) {
    for (const double row : row_norms_ref(x)) sum.add(row);
    return;
  }
  const Pieces pieces(x.rows, x.cols);
  const int64_t parts = pieces.per_row();
  thread_local std::vector<double> memory;
  memory.resize(std::max(memory.size(), static_cast<size_t>(x.rows * parts)));
  double* sums = memory.data();
  const auto& kernels = grad_norm_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      sums[r * parts + i % parts] =
          kernels.sum_of_squares(static_cast<const float*>(x.at(r, c)), n);
    });
  });
  for (int64_t r = 0; r < x.rows; ++r) {
    double row = 0;
    for (int64_t p = 0; p < parts; ++p) row += sums[r * parts + p];
    sum.add(row);
  }
}

}  // namespace

void add_squared_norm(std::span<const ConstView> xs, ExactSum& sum, const Exec& exec) {
  for (const ConstView x : xs) require_dtype("add_squared_norm", "x", x, DType::f32);
  if (exec.device != nullptr) return exec.device->add_squares(xs, sum);
  for (const ConstView x : xs)
    if (x.elements() > 0) add_rows(x, sum, exec);
}

}  // namespace cria::ops
