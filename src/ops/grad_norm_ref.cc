// The squared norm, close to the formula.
#include "ops/grad_norm_ref.h"

#include "ops/reference.h"

namespace cria::ops {

double squared_norm_ref(ConstView x) {
  double total = 0;
  for (int64_t r = 0; r < x.rows; ++r) {
    double row = 0;
    for (int64_t c = 0; c < x.cols; ++c) row += get(x, r, c) * get(x, r, c);
    total += row;
  }
  return total;
}

}  // namespace cria::ops
