// Blocking and threads of the matrix product. C is cut into blocks; for each block and each slice
// of k the sides that the last block did not leave are packed (phase 1), then the block's tiles are
// multiplied (phase 2). All cuts follow from the shape alone.
#include "ops/gemm.h"

#include <algorithm>

#include "ops/gemm_kernels.h"
#include "ops/memory.h"

namespace cria::ops {
namespace {

// Depth of a slice: its panels still share L2, and sums rarely have to wait in memory for the next.
constexpr int64_t kMaxCells = 1024;
// Of C: the packed slices stay in L3, and packing is paid back by enough products.
constexpr int64_t kBlockRows = 1024;
constexpr int64_t kBlockCols = 2048;
// Of C, one thread's piece; narrower where there would be too few pieces to share out evenly.
constexpr int64_t kUnitRows = 112;
constexpr int64_t kUnitCols = 256;
constexpr int64_t kFewUnits = 32;
constexpr int64_t kPackPanels = 4;        // one thread's piece of packing
constexpr int64_t kAloneBelow = 1 << 17;  // products of a call that are not worth a second thread

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// [0, count) cut into equal pieces of at most `most`.
struct Cut {
  int64_t count, pieces, size;
  Cut(int64_t n, int64_t most)
      : count(n), pieces(std::max<int64_t>(1, ceil_div(n, most))), size(ceil_div(n, pieces)) {}
  [[nodiscard]] int64_t begin(int64_t i) const { return std::min(count, i * size); }
  [[nodiscard]] int64_t end(int64_t i) const { return begin(i + 1); }
  [[nodiscard]] int64_t length(int64_t i) const { return end(i) - begin(i); }
};

/// Packed panels and unfinished sums; kept by each calling thread, so that only the first products
/// of a run allocate.
struct Scratch {
  Tensor a, b, sums;
  static float* room(Tensor& t, int64_t floats) {
    if (t.cols() < floats) t = Tensor(DType::f32, 1, floats);
    return t.span<float>().data();
  }
};
thread_local Scratch scratch;

/// How a product is cut into blocks. Panels are never cut. Depth is cut at even k, so that pairs stay together.
struct Cuts {
  Cut rows, cols, cells;  // in panels, panels, cells
  Cuts(int64_t c_rows, int64_t c_cols, int64_t depth, bool pairs, const GemmKernels& k)
      : rows(ceil_div(c_rows, k.tile_rows), kBlockRows / k.tile_rows),
        cols(ceil_div(c_cols, k.tile_cols), kBlockCols / k.tile_cols),
        cells(ceil_div(depth, pairs ? 2 : 1), kMaxCells) {}
  // Floats of the packed sides and of the sums that wait for the next slice.
  [[nodiscard]] int64_t left(const GemmKernels& k) const {
    return rows.size * cells.size * k.a_width;
  }
  [[nodiscard]] int64_t right(const GemmKernels& k) const {
    return cols.size * cells.size * k.b_width;
  }
  [[nodiscard]] int64_t sums(const GemmKernels& k) const {
    return cells.pieces > 1 ? rows.size * k.tile_rows * cols.size * k.tile_cols : 0;
  }
};

class Product {
 public:
  Product(const GemmSide& a, const GemmSide& b, View c, Into into, ThreadPool& pool)
      : a_(a),
        b_(b),
        c_(c),
        add_(into == Into::add),
        pool_(pool),
        kernels_(gemm_kernels()),
        pairs_(kernels_.has_pairs && a.dtype == DType::bf16 && b.dtype == DType::bf16),
        alone_(c.rows * c.cols * std::max<int64_t>(1, a.depth) < kAloneBelow) {}

  void run() {
    const Cuts cuts(c_.rows, c_.cols, a_.depth, pairs_, kernels_);
    const auto& [rows, cols, cells] = cuts;
    const int64_t per_cell = pairs_ ? 2 : 1;
    packed_a_ = Scratch::room(scratch.a, cuts.left(kernels_));
    packed_b_ = Scratch::room(scratch.b, cuts.right(kernels_));
    sums_stride_ = cols.size * kernels_.tile_cols;
    if (cells.pieces > 1) sums_ = Scratch::room(scratch.sums, cuts.sums(kernels_));
    for (int64_t j = 0; j < cols.pieces; ++j) {
      for (int64_t i = 0; i < rows.pieces; ++i) {
        for (int64_t s = 0; s < cells.pieces; ++s) {
          first_ = s == 0;
          last_ = s == cells.pieces - 1;
          cells_ = cells.length(s);
          k_begin_ = cells.begin(s) * per_cell;
          k_end_ = std::min(a_.depth, cells.end(s) * per_cell);
          block(rows.begin(i), rows.length(i), cols.begin(j), cols.length(j));
        }
      }
    }
  }

 private:
  /// One block of C, in panels, and one slice of k.
  void block(int64_t a_first, int64_t a_panels, int64_t b_first, int64_t b_panels) {
    // What the last block packed may serve this one too: x of a wide product, w of a long one.
    const Packed a{a_first, k_begin_}, b{b_first, k_begin_};
    const int64_t a_items = a == have_a_ ? 0 : ceil_div(a_panels, kPackPanels);
    const int64_t b_items = b == have_b_ ? 0 : ceil_div(b_panels, kPackPanels);
    have_a_ = a;
    have_b_ = b;
    each(a_items + b_items, [&](int64_t i) {
      if (i < a_items) {
        pack(a_, packed_a_, a_first, a_panels, i, kernels_.tile_rows, kernels_.a_width);
      } else {
        pack(b_, packed_b_, b_first, b_panels, i - a_items, kernels_.tile_cols, kernels_.b_width);
      }
    });
    const Cut rows(a_panels, std::max<int64_t>(1, kUnitRows / kernels_.tile_rows));
    Cut cols(b_panels, std::max<int64_t>(1, kUnitCols / kernels_.tile_cols));
    if (rows.pieces * cols.pieces < kFewUnits)
      cols = Cut(b_panels, std::max<int64_t>(1, cols.size / 2));
    each(rows.pieces * cols.pieces, [&](int64_t i) {
      const int64_t r = i % rows.pieces;
      const int64_t c = i / rows.pieces;
      multiply(a_first, rows.begin(r), rows.end(r), b_first, cols.begin(c), cols.end(c));
    });
  }

  void pack(const GemmSide& side, float* packed, int64_t first, int64_t panels, int64_t item,
            int64_t taken, int64_t width) const {
    const int64_t begin = item * kPackPanels;
    PackJob job;
    job.side = side;
    job.first_panel = first + begin;
    job.panels = std::min(kPackPanels, panels - begin);
    job.k_begin = k_begin_;
    job.k_end = k_end_;
    job.taken = taken;
    job.width = width;
    job.pairs = pairs_;
    job.to = packed + begin * cells_ * width;
    pack_kernels().pack(job);
  }

  /// Panels [a_begin, a_end) of the block's A times [b_begin, b_end) of its B.
  void multiply(int64_t a_first, int64_t a_begin, int64_t a_end, int64_t b_first, int64_t b_begin,
                int64_t b_end) const {
    const int64_t row = (a_first + a_begin) * kernels_.tile_rows;
    const int64_t col = (b_first + b_begin) * kernels_.tile_cols;
    TileJob job;
    job.a = packed_a_ + a_begin * cells_ * kernels_.a_width;
    job.b = packed_b_ + b_begin * cells_ * kernels_.b_width;
    job.cells = cells_;
    job.pairs = pairs_;
    job.rows = std::min(c_.rows, (a_first + a_end) * kernels_.tile_rows) - row;
    job.cols = std::min(c_.cols, (b_first + b_end) * kernels_.tile_cols) - col;
    if (job.rows <= 0 || job.cols <= 0) return;
    float* const sums = sums_ == nullptr ? nullptr
                                         : sums_ + a_begin * kernels_.tile_rows * sums_stride_ +
                                               b_begin * kernels_.tile_cols;
    job.start = first_ ? nullptr : sums;
    job.sums = last_ ? nullptr : sums;
    job.sums_stride = sums_stride_;
    job.c = c_.at(row, col);
    job.c_stride = c_.stride;
    job.dtype = c_.dtype;
    job.add = add_;
    kernels_.multiply(job);
  }

  template <class Body>
  void each(int64_t count, Body&& body) {
    if (alone_) {
      for (int64_t i = 0; i < count; ++i) body(i);
    } else {
      pool_.parallel_for(count, body);
    }
  }

  const GemmSide a_, b_;
  const View c_;
  const bool add_;
  ThreadPool& pool_;
  const GemmKernels& kernels_;
  const bool pairs_, alone_;
  float *packed_a_ = nullptr, *packed_b_ = nullptr, *sums_ = nullptr;
  int64_t sums_stride_ = 0;
  /// What the packed panels hold.
  struct Packed {
    int64_t first_panel = -1, k_begin = -1;
    bool operator==(const Packed&) const = default;
  } have_a_, have_b_;
  // The slice of k at work.
  int64_t cells_ = 0, k_begin_ = 0, k_end_ = 0;
  bool first_ = true, last_ = true;
};

}  // namespace

void gemm(const GemmSide& a, const GemmSide& b, View c, Into into, ThreadPool& pool) {
  if (c.rows == 0 || c.cols == 0) return;
  Product(a, b, c, into, pool).run();
}

ProductMemory product_memory(int64_t rows, int64_t cols, int64_t depth, bool bf16) {
  const GemmKernels& kernels = gemm_kernels();
  const Cuts cuts(rows, cols, depth, bf16 && kernels.has_pairs, kernels);
  return {4 * cuts.left(kernels), 4 * cuts.right(kernels), 4 * cuts.sums(kernels)};
}

}  // namespace cria::ops
