// What the doors of the ops share: checks of shapes and dtypes, and how work is cut into pieces.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// f32, f16 and bf16: what every op can compute with.
inline bool is_compute(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

/// Throws UsageError, e.g. "swiglu: out is [3, 7], expected [3, 8]".
inline void require_shape(std::string_view op, std::string_view name, ConstView view, int64_t rows,
                          int64_t cols) {
  require(view.rows == rows && view.cols == cols, "{}: {} is [{}, {}], expected [{}, {}]", op, name,
          view.rows, view.cols, rows, cols);
}
inline void require_dtype(std::string_view op, std::string_view name, ConstView view, DType dtype) {
  require(view.dtype == dtype, "{}: {} is {}, expected {}", op, name, name_of(view.dtype),
          name_of(dtype));
}
inline void require_compute(std::string_view op, std::string_view name, ConstView view) {
  require(is_compute(view.dtype), "{}: {} is {}, expected F32, F16 or BF16", op, name,
          name_of(view.dtype));
}

/// One row when the rows lie end to end: elementwise ops then run through without row ends.
template <class Void>
BasicView<Void> flattened(BasicView<Void> v) {
  return {v.data, v.dtype, 1, v.rows * v.cols};
}

/// A [rows, cols] window cut into pieces of about 16 Ki elements, by shape alone: several whole
/// rows, or a part of one long row.
class Pieces {
 public:
  struct Piece {
    int64_t row, rows, col, cols;
  };
  Pieces(int64_t rows, int64_t cols)
      : rows_(rows),
        cols_(cols),
        piece_rows_(std::max<int64_t>(1, kElements / std::max<int64_t>(1, cols))),
        per_row_((cols + kElements - 1) / kElements) {}
  [[nodiscard]] int64_t count() const { return (rows_ + piece_rows_ - 1) / piece_rows_ * per_row_; }
  /// Pieces that a row is cut into; more than 1 only for rows of more than 16 Ki elements.
  [[nodiscard]] int64_t per_row() const { return per_row_; }
  [[nodiscard]] Piece at(int64_t i) const {
    const int64_t row = i / per_row_ * piece_rows_, col = i % per_row_ * kElements;
    return {row, std::min(piece_rows_, rows_ - row), col, std::min(kElements, cols_ - col)};
  }
  /// Calls body(row, col, cols) for every row of piece i.
  template <class Body>
  void for_rows(int64_t i, Body body) const {
    const Piece p = at(i);
    for (int64_t r = p.row; r < p.row + p.rows; ++r) body(r, p.col, p.cols);
  }

 private:
  static constexpr int64_t kElements = 16384;
  int64_t rows_, cols_, piece_rows_, per_row_;
};

}  // namespace cria::ops
