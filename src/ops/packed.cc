#include "ops/packed.h"

#include <algorithm>

#include "base/error.h"
#include "ops/device.h"
#include "ops/door.h"
#include "ops/packed_kernels.h"
#include "ops/packed_ref.h"

namespace cria::ops {
namespace {

constexpr int64_t kFewRows = 24;          // of x: the weights are read once, and their speed counts
constexpr int64_t kFewBytes = 128 << 10;  // of w, one thread's piece then: a few microseconds
constexpr int64_t kPanelsOfMany = 4;  // one thread's piece of a product with many rows: 64 outputs
constexpr int64_t kRowsOfMany = 192;  // ... of so many rows
constexpr int64_t kRowsToPrepare = 24;      // one thread's piece of x: whole tiles
constexpr int64_t kAloneBytes = 128 << 10;  // bytes of w times rows of x not worth a second thread

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Rows of x as the kernels want them for such weights. Kept by the calling thread, so that only the first calls allocate.
const std::byte* prepare(ConstView x, DType type, const PackedRow& row, bool pairs,
                         ThreadPool& pool) {
  thread_local Tensor memory;
  if (memory.cols() < x.rows * row.bytes) memory = Tensor(DType::u8, 1, x.rows * row.bytes);
  std::byte* const to = memory.bytes().data();
  const auto body = [&](int64_t i) {
    const int64_t end = std::min(x.rows, (i + 1) * kRowsToPrepare);
    for (int64_t t = i * kRowsToPrepare; t < end;) {
      const int64_t rows = packed_kernels().tile_rows(type, pairs, end - t);
      for (int64_t r = 0; r < rows; ++r)
        packed_prepare_kernels().prepare({.from = x.at(t + r, 0),
                                          .dtype = x.dtype,
                                          .cols = x.cols,
                                          .row = row,
                                          .pairs = pairs,
                                          .tile = to + t * row.bytes,
                                          .tile_rows = rows,
                                          .index = r});
      t += rows;
    }
  };
  const int64_t items = ceil_div(x.rows, kRowsToPrepare);
  if (items == 1) {
    body(0);
  } else {
    pool.parallel_for(items, body);
  }
  return to;
}

using Matrices = std::span<const PackedMatrix* const>;

/// A product with some matrices of one type, cut into pieces: panels of one matrix times rows of x.
class Product {
 public:
  Product(ConstView x, Matrices w, View y, bool add, ThreadPool& pool)
      : x_(x), w_(w), y_(y), few_(x.rows <= kFewRows) {
    const DType type = w.front()->type();
    const PackedLayout layout = *packed_layout(type);
    job_.type = type;
    job_.panel = packed_panel(layout, x.cols);
    job_.cols = x.cols;
    job_.pairs = layout.group == 0 && x.dtype == DType::bf16 && packed_kernels().has_pairs;
    job_.row = packed_row(layout, x.cols, job_.pairs);
    job_.x = prepare(x, type, job_.row, job_.pairs, pool);
    job_.y_dtype = y.dtype;
    job_.y_stride = y.stride;
    job_.add = add;
    job_.streams = few_;
    panels_ = few_ ? std::max<int64_t>(1, kFewBytes / job_.panel.bytes) : kPanelsOfMany;
    rows_ = few_ ? x.rows : kRowsOfMany;
    for (const PackedMatrix* m : w) {
      across_ += pieces_of(*m);
      bytes_ += static_cast<int64_t>(m->size_bytes());
    }
  }

  void run(ThreadPool& pool) const {
    const int64_t pieces = across_ * ceil_div(x_.rows, rows_);
    if (bytes_ * x_.rows < kAloneBytes) {
      for (int64_t i = 0; i < pieces; ++i) run_piece(i);
    } else {
      pool.parallel_for(pieces, [this](int64_t i) { run_piece(i); });
    }
  }

 private:
  [[nodiscard]] int64_t pieces_of(const PackedMatrix& m) const {
    return ceil_div(ceil_div(m.rows(), kPanelRows), panels_);
  }

  void run_piece(int64_t i) const {
    const int64_t t = i / across_ * rows_;
    int64_t piece = i % across_, out = 0;
    size_t at = 0;
    for (; piece >= pieces_of(*w_[at]); ++at) {
      piece -= pieces_of(*w_[at]);
      out += w_[at]->rows();
    }
    const PackedMatrix& w = *w_[at];
    const int64_t first = piece * panels_;
    PackedJob job = job_;
    job.panels = w.panel(first);
    job.outs = std::min(panels_ * kPanelRows, w.rows() - first * kPanelRows);
    job.x = job_.x + t * job.row.bytes;
    job.x_rows = std::min(rows_, x_.rows - t);
    job.y = y_.at(t, out + first * kPanelRows);
    packed_kernels().multiply(job);
  }

  ConstView x_;
  Matrices w_;
  View y_;
  bool few_;
  PackedJob job_;
  int64_t panels_ = 0, rows_ = 0;  // of a piece
  int64_t across_ = 0;             // pieces that have the same rows of x
  int64_t bytes_ = 0;              // of w
};

int64_t rows_of(Matrices w) {
  int64_t rows = 0;
  for (const PackedMatrix* m : w) rows += m->rows();
  return rows;
}

}  // namespace

void linear_packed(ConstView x, Matrices w, View y, const Exec& exec, Into into) {
  for (const PackedMatrix* m : w)
    require(m->cols() == x.cols, "linear_packed: x is [{}, {}], but w is [{}, {}]", x.rows, x.cols,
            m->rows(), m->cols());
  require_compute("linear_packed", "x", x);
  require_compute("linear_packed", "y", y);
  require_shape("linear_packed", "y", y, x.rows, rows_of(w));
  if (x.rows == 0) return;
  if (exec.device != nullptr) return exec.device->linear_packed(x, w, y, into);
  int64_t out = 0;
  // Matrices of one type share the prepared x.
  for (size_t begin = 0, end = 0; begin < w.size(); begin = end) {
    while (end < w.size() && w[end]->type() == w[begin]->type()) ++end;
    const Matrices alike = w.subspan(begin, end - begin);
    const View part = y.col_range(out, rows_of(alike));
    out += part.cols;
    if (exec.reference) {
      int64_t first = 0;
      for (const PackedMatrix* m : alike) {
        linear_packed_ref(x, *m, part.col_range(first, m->rows()), into);
        first += m->rows();
      }
    } else {
      Product(x, alike, part, into == Into::add, exec.pool).run(exec.pool);
    }
  }
}

}  // namespace cria::ops
