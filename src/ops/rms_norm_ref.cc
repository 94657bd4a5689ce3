// RMS normalisation, close to the formula.
#include "ops/rms_norm_ref.h"

#include <cmath>

#include "ops/reference.h"

namespace cria::ops {

void rms_norm_ref(ConstView x, ConstView weight, double eps, View y, View rstd) {
  for (int64_t t = 0; t < x.rows; ++t) {
    double squares = 0;
    for (int64_t i = 0; i < x.cols; ++i) squares += get(x, t, i) * get(x, t, i);
    const double r = 1 / std::sqrt(squares / static_cast<double>(x.cols) + eps);
    for (int64_t i = 0; i < x.cols; ++i) set(y, t, i, get(x, t, i) * r * get(weight, 0, i));
    if (rstd.data != nullptr) set(rstd, 0, t, r);
  }
}

void rms_norm_backward_ref(ConstView x, ConstView weight, ConstView rstd, ConstView dy, View dx,
                           View dweight) {
  for (int64_t t = 0; t < x.rows; ++t) {
    const double r = get(rstd, 0, t);
    double dot = 0;
    for (int64_t i = 0; i < x.cols; ++i) dot += get(dy, t, i) * get(weight, 0, i) * get(x, t, i);
    const double mean = dot / static_cast<double>(x.cols);
    for (int64_t i = 0; i < x.cols; ++i) {
      const double d = r * (get(dy, t, i) * get(weight, 0, i) - get(x, t, i) * r * r * mean);
      set(dx, t, i, get(dx, t, i) + d);
    }
  }
  for (int64_t i = 0; i < x.cols; ++i) {
    double sum = 0;
    for (int64_t t = 0; t < x.rows; ++t) sum += get(dy, t, i) * get(x, t, i) * get(rstd, 0, t);
    set(dweight, 0, i, get(dweight, 0, i) + sum);
  }
}

}  // namespace cria::ops
