// What the doors of attention share: checks, and where a head's rows lie in memory.
#pragma once

#include "ops/attention.h"
#include "ops/attention_kernels.h"
#include "ops/door.h"

namespace cria::ops {

inline void require_heads(std::string_view op, const HeadShape& s) {
  require(s.heads > 0 && s.kv_heads > 0 && s.heads % s.kv_heads == 0,
          "{}: {} heads and {} kv_heads, expected a positive multiple", op, s.heads, s.kv_heads);
  require(s.head_dim > 0 && s.head_dim % 2 == 0,
          "{}: head_dim is {}, expected a positive even number", op, s.head_dim);
}

inline void require_matrix(std::string_view op, std::string_view name, ConstView view, int64_t rows,
                           int64_t cols) {
  require_compute(op, name, view);
  require_shape(op, name, view, rows, cols);
}

inline HeadRows head_rows(ConstView m, int64_t row, int64_t head, int64_t head_dim) {
  return {m.at(row, head * head_dim), m.dtype, m.stride};
}
inline HeadRowsOut head_rows(View m, int64_t row, int64_t head, int64_t head_dim) {
  return {m.at(row, head * head_dim), m.dtype, m.stride};
}

/// Queries of one forward unit: about 256 rows share each key block's conversion to f32.
inline int64_t unit_queries(const HeadShape& shape) {
  return std::max<int64_t>(1, 256 / (shape.heads / shape.kv_heads));
}

}  // namespace cria::ops
