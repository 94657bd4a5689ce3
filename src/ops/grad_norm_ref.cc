// Rows' squared norms, close to the formula.
#include "ops/grad_norm_ref.h"

#include "ops/reference.h"

namespace cria::ops {

std::vector<double> row_norms_ref(ConstView x) {
  std::vector<double> rows;
  for (int64_t r = 0; r < x.rows; ++r) {
    double row = 0;
    for (int64_t c = 0; c < x.cols; ++c) row += get(x, r, c) * get(x, r, c);
    rows.push_back(row);
  }
  return rows;
}

}  // namespace cria::ops
