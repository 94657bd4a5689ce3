// Checks, then pieces of about 16 Ki elements on all threads.
#include "ops/swiglu.h"

#include "ops/device.h"
#include "ops/door.h"
#include "ops/swiglu_kernels.h"
#include "ops/swiglu_ref.h"

namespace cria::ops {

void swiglu(ConstView gate_up, View out, const Exec& exec) {
  require_compute("swiglu", "gate_up", gate_up);
  require_compute("swiglu", "out", out);
  require_shape("swiglu", "gate_up", gate_up, out.rows, 2 * out.cols);
  if (exec.device != nullptr) return exec.device->swiglu(gate_up, out);
  if (exec.reference) return swiglu_ref(gate_up, out);
  const Pieces pieces(out.rows, out.cols);
  const auto& kernels = swiglu_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      kernels.forward(gate_up.at(r, c), gate_up.at(r, out.cols + c), gate_up.dtype, out.at(r, c),
                      out.dtype, n);
    });
  });
}

void swiglu_backward(ConstView gate_up, ConstView dout, View d_gate_up, const Exec& exec) {
  constexpr std::string_view op = "swiglu_backward";
  require_compute(op, "gate_up", gate_up);
  require_compute(op, "dout", dout);
  require_compute(op, "d_gate_up", d_gate_up);
  require_shape(op, "gate_up", gate_up, dout.rows, 2 * dout.cols);
  require_shape(op, "d_gate_up", d_gate_up, dout.rows, 2 * dout.cols);
  if (exec.device != nullptr) return exec.device->swiglu_backward(gate_up, dout, d_gate_up);
  if (exec.reference) return swiglu_backward_ref(gate_up, dout, d_gate_up);
  const int64_t width = dout.cols;
  const Pieces pieces(dout.rows, width);
  const auto& kernels = swiglu_kernels();
  exec.pool.parallel_for(pieces.count(), [&](int64_t i) {
    pieces.for_rows(i, [&](int64_t r, int64_t c, int64_t n) {
      kernels.backward(gate_up.at(r, c), gate_up.at(r, width + c), gate_up.dtype, dout.at(r, c),
                       dout.dtype, d_gate_up.at(r, c), d_gate_up.at(r, width + c), d_gate_up.dtype,
                       n);
    });
  });
}

}  // namespace cria::ops
