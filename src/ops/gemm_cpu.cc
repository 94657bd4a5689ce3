// Microkernels of the matrix product: a tile of C stays in registers while k runs over one panel of
// A and one of B. Each k costs one load per B vector and one broadcast per row.
#include "ops/gemm_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {
namespace {

// Accumulators + B vectors + broadcasts fill the register file: 14 x 2 + 2 + 2 of 32 with AVX-512,
// 6 x 2 + 2 + 2 of 16 with AVX2.
#ifdef __AVX512F__
constexpr int kRows = 14;
#else
constexpr int kRows = 6;
#endif
constexpr int64_t kCols = 2 * kLanes;
constexpr int64_t kLine = 16;  // floats per cache line

inline void prefetch_to_write(const float* p) { __builtin_prefetch(p, 1); }

template <bool Pairs>
inline __attribute__((always_inline)) Vec step(Vec a, Vec b, Vec sum) {
#ifdef __AVX512BF16__
  if constexpr (Pairs) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#endif
  return fma(a, b, sum);
}

/// One tile's work.
struct Step {
  const float* a;
  const float* b;
  int64_t cells;
  const float* start;  // sums so far, or nullptr for 0
  int64_t start_stride;
  float* out;
  int64_t out_stride;
  // What later tiles will touch, brought nearer meanwhile. Panels come from L3 to L2, a line of
  // each per k: 4 % of the whole product.
  const float* next_a;
  const float* next_b;
  const float* next_start;
  float* next_out;
};

/// out[r] = start[r] + a . b for Rows rows of kCols columns.
template <int Rows, bool Pairs>
void tile(const Step& t) {
  Vec s0[Rows], s1[Rows];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    prefetch_to_write(t.next_out + r * t.out_stride);
    prefetch_to_write(t.next_out + r * t.out_stride + kCols - 1);
    s0[r] = s1[r] = zero();
  }
  if (t.start != nullptr) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      prefetch_to_write(t.next_start + r * t.start_stride);
      prefetch_to_write(t.next_start + r * t.start_stride + kCols - 1);
      s0[r] = load(t.start + r * t.start_stride);
      s1[r] = load(t.start + r * t.start_stride + kLanes);
    }
  }
  const float *a = t.a, *b = t.b, *next_a = t.next_a, *next_b = t.next_b;
  for (int64_t k = 0; k < t.cells; ++k) {
    const Vec b0 = load(b);
    const Vec b1 = load(b + kLanes);
    _mm_prefetch(next_a, _MM_HINT_T1);
    _mm_prefetch(next_b, _MM_HINT_T1);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Vec x = set1(a[r]);
      s0[r] = step<Pairs>(x, b0, s0[r]);
      s1[r] = step<Pairs>(x, b1, s1[r]);
    }
    a += kLanes;
    b += kCols;
    next_a += kLine;
    next_b += kLine;
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    store(t.out + r * t.out_stride, s0[r]);
    store(t.out + r * t.out_stride + kLanes, s1[r]);
  }
}

using Tile = void (*)(const Step&);

// By number of rows, so that a short last panel costs only its own rows.
template <bool Pairs>
Tile tile_of(int64_t rows) {
#ifdef __AVX512F__
  static constexpr Tile kTiles[] = {
      tile<1, Pairs>,  tile<2, Pairs>,  tile<3, Pairs>,  tile<4, Pairs>, tile<5, Pairs>,
      tile<6, Pairs>,  tile<7, Pairs>,  tile<8, Pairs>,  tile<9, Pairs>, tile<10, Pairs>,
      tile<11, Pairs>, tile<12, Pairs>, tile<13, Pairs>, tile<14, Pairs>};
#else
  static constexpr Tile kTiles[] = {tile<1, Pairs>, tile<2, Pairs>, tile<3, Pairs>,
                                    tile<4, Pairs>, tile<5, Pairs>, tile<6, Pairs>};
#endif
  return kTiles[rows - 1];
}

template <class T>
void finish(const float* sums, int64_t rows, int64_t cols, T* c, int64_t stride, bool add_to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < cols; i += kLanes) {
      const Vec s = load(sums + r * kCols + i);
      T* const to = c + r * stride + i;
      if (cols - i >= kLanes) {
        store(to, add_to ? add(load(to), s) : s);
      } else {
        const Mask m = first(cols - i);
        store(to, add_to ? add(load(to, m), s) : s, m);
      }
    }
  }
}

/// The last k is summed: rounds the tile to c's dtype, adds it where asked, leaves out the cells
/// past c's edge.
void finish_any(const TileJob& job, const float* sums, int64_t row, int64_t rows, int64_t col,
                int64_t cols) {
  const int64_t at = row * job.c_stride + col;
  switch (job.dtype) {
    case DType::bf16:
      return finish(sums, rows, cols, static_cast<bf16*>(job.c) + at, job.c_stride, job.add);
    case DType::f16:
      return finish(sums, rows, cols, static_cast<f16*>(job.c) + at, job.c_stride, job.add);
    default:
      return finish(sums, rows, cols, static_cast<float*>(job.c) + at, job.c_stride, job.add);
  }
}

/// Where the tile's sums come from and go to: the sums between slices of k, c itself, or `own`,
/// from where they are finished.
bool aim(const TileJob& job, int64_t row, int64_t col, bool whole, float* own, Step* step) {
  const int64_t at = row * job.sums_stride + col;
  step->start = job.start != nullptr ? job.start + at : nullptr;
  step->start_stride = job.sums_stride;
  if (job.sums != nullptr) {
    step->out = job.sums + at;
    step->out_stride = job.sums_stride;
    return false;
  }
  if (job.dtype == DType::f32 && !job.add && whole) {
    step->out = static_cast<float*>(job.c) + row * job.c_stride + col;
    step->out_stride = job.c_stride;
    return false;
  }
  step->out = own;
  step->out_stride = kCols;
  return true;
}

void multiply(const TileJob& job) {
  alignas(64) float own[kRows * kCols];
  const int64_t a_panel = job.cells * kLanes;
  const int64_t b_panel = job.cells * kCols;
  Step step;
  step.cells = job.cells;
  for (int64_t col = 0; col < job.cols; col += kCols) {
    const int64_t cols = job.cols - col < kCols ? job.cols - col : kCols;
    step.b = job.b + col / kCols * b_panel;
    step.next_b = step.b + (col + kCols < job.cols ? b_panel : 0);
    step.a = job.a;
    for (int64_t row = 0; row < job.rows; row += kRows) {
      const int64_t rows = job.rows - row < kRows ? job.rows - row : kRows;
      const bool finishes = aim(job, row, col, cols == kCols, own, &step);
      step.next_a = col == 0 && row + kRows < job.rows ? step.a + a_panel : step.a;
      step.next_start = step.start != nullptr ? step.start + kRows * step.start_stride : nullptr;
      step.next_out = step.out + (finishes ? 0 : kRows * step.out_stride);
      (job.pairs ? tile_of<true>(rows) : tile_of<false>(rows))(step);
      if (finishes) finish_any(job, own, row, rows, col, cols);
      step.a += a_panel;
      // A panel of B is kCols / kLine lines per k: as many tiles bring the next one, then it is
      // there.
      step.next_b += row / kRows < kCols / kLine - 1 ? job.cells * kLine : 0;
    }
  }
}

#ifdef __AVX512BF16__
constexpr bool kHasPairs = true;
#else
constexpr bool kHasPairs = false;
#endif

}  // namespace

const GemmKernels gemm_kernels = {kRows, kCols, kLanes, kCols, kHasPairs, multiply};

}  // namespace cria::ops::CRIA_ISA
