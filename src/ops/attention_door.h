// What the doors of attention share: checks, and where a head's rows lie in memory.
#pragma once

#include "ops/attention.h"
#include "ops/attention_kernels.h"
#include "ops/door.h"
#include "ops/int8_rows.h"

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

inline void require_cache(std::string_view op, std::string_view name, ConstView m, int64_t rows,
                          int64_t dim) {
  if (m.dtype == DType::i8) return require_shape(op, name, m, rows, int8_row_bytes(dim));
  require_matrix(op, name, m, rows, dim);
}

/// Sequence n of a call on `rows` tokens.
inline void require_sequence(std::string_view op, size_t n, const CachedSequence& s, int64_t rows,
                             const HeadShape& shape) {
  require(s.count >= 0 && s.first_row >= 0 && s.first_row <= rows - s.count,
          "{}: sequence {} has rows {} .. {} of {}", op, n, s.first_row, s.first_row + s.count,
          rows);
  require((s.k.dtype == DType::i8) == (s.v.dtype == DType::i8),
          "{}: sequence {} has k in {} and v in {}, expected both in 8 bits or neither", op, n,
          name_of(s.k.dtype), name_of(s.v.dtype));
  require(s.first_position >= 0 && s.first_position <= s.capacity - s.count,
          "{}: sequence {} reaches position {} of a cache for {}", op, n,
          s.first_position + s.count, s.capacity);
  require_cache(op, "k", s.k, shape.kv_heads * s.capacity, shape.head_dim);
  require_cache(op, "v", s.v, shape.kv_heads * s.capacity, shape.head_dim);
}

}  // namespace cria::ops
