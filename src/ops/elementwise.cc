// Checks, then pieces of about 16 Ki elements on all threads.
#include "ops/elementwise.h"

#include <cstring>

#include "ops/device.h"
#include "ops/door.h"
#include "ops/elementwise_kernels.h"
#include "ops/elementwise_ref.h"

namespace cria::ops {

void convert(ConstView from, View to, const Exec& exec) {
  require_compute("convert", "from", from);
  require_compute("convert", "to", to);
  require_shape("convert", "to", to, from.rows, from.cols);
  if (exec.device != nullptr) return exec.device->convert(from, to);
  if (exec.reference) return convert_ref(from, to);
  if (from.contiguous() && to.contiguous()) {
    from = flattened(from);
    to = flattened(to);
  }
  const Pieces pieces(to.rows, to.cols);
  const auto& kernels = elementwise_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      kernels.convert(from.at(r, c), from.dtype, to.at(r, c), to.dtype, n);
    });
  });
}

void add(View x, ConstView y, const Exec& exec) {
  require_compute("add", "x", x);
  require_compute("add", "y", y);
  require_shape("add", "y", y, x.rows, x.cols);
  if (exec.device != nullptr) return exec.device->add(x, y);
  if (exec.reference) return add_ref(x, y);
  if (x.contiguous() && y.contiguous()) {
    x = flattened(x);
    y = flattened(y);
  }
  const Pieces pieces(x.rows, x.cols);
  const auto& kernels = elementwise_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      kernels.add(x.at(r, c), x.dtype, y.at(r, c), y.dtype, n);
    });
  });
}

void fill_zero(View x, const Exec& exec) {
  require(!is_quantised(x.dtype), "fill_zero: x is {}, expected a plain dtype", name_of(x.dtype));
  if (exec.device != nullptr) return exec.device->fill_zero(x);
  if (x.contiguous()) x = flattened(x);
  const Pieces pieces(x.rows, x.cols);
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      std::memset(x.at(r, c), 0, static_cast<size_t>(bytes_of(x.dtype, n)));
    });
  });
}

}  // namespace cria::ops
