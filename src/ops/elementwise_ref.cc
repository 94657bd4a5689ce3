// Copies and sums, close to the formula.
#include "ops/elementwise_ref.h"

#include "ops/reference.h"

namespace cria::ops {

void convert_ref(ConstView from, View to) {
  for (int64_t r = 0; r < to.rows; ++r) {
    for (int64_t c = 0; c < to.cols; ++c) set(to, r, c, get(from, r, c));
  }
}

void add_ref(View x, ConstView y) {
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t c = 0; c < x.cols; ++c) set(x, r, c, get(x, r, c) + get(y, r, c));
  }
}

}  // namespace cria::ops
