// SwiGLU, close to the formula.
#include "ops/swiglu_ref.h"

#include <cmath>

#include "ops/reference.h"

namespace cria::ops {

void swiglu_ref(ConstView gate_up, View out) {
  for (int64_t t = 0; t < out.rows; ++t) {
    for (int64_t i = 0; i < out.cols; ++i) {
      const double gate = get(gate_up, t, i), up = get(gate_up, t, i + out.cols);
      set(out, t, i, gate / (1 + std::exp(-gate)) * up);
    }
  }
}

void swiglu_backward_ref(ConstView gate_up, ConstView dout, View d_gate_up) {
  for (int64_t t = 0; t < dout.rows; ++t) {
    for (int64_t i = 0; i < dout.cols; ++i) {
      const double gate = get(gate_up, t, i), up = get(gate_up, t, i + dout.cols);
      const double d = get(dout, t, i), s = 1 / (1 + std::exp(-gate));
      set(d_gate_up, t, i, d * up * s * (1 + gate * (1 - s)));
      set(d_gate_up, t, i + dout.cols, d * gate * s);
    }
  }
}

}  // namespace cria::ops
