// Rotary embedding close to the formula, in double from the table's angles on.
#include "ops/rope_ref.h"

#include "ops/reference.h"

namespace cria::ops {

void rope_ref(View x, std::span<const int32_t> positions, const RopeTable& table, Turn turn) {
  const int64_t dim = table.head_dim(), half = dim / 2;
  const double sign = turn == Turn::forward ? 1.0 : -1.0;
  for (int64_t t = 0; t < x.rows; ++t) {
    const int64_t position = positions[static_cast<size_t>(t)];
    for (int64_t h = 0; h < x.cols / dim; ++h) {
      for (int64_t j = 0; j < half; ++j) {
        const double c = get(table.cos(), position, j), s = get(table.sin(), position, j) * sign;
        const double x1 = get(x, t, h * dim + j), x2 = get(x, t, h * dim + half + j);
        set(x, t, h * dim + j, x1 * c - x2 * s);
        set(x, t, h * dim + half + j, x2 * c + x1 * s);
      }
    }
  }
}

}  // namespace cria::ops
