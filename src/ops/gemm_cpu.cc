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

template <bool Pairs>
inline __attribute__((always_inline)) Vec step(Vec a, Vec b, Vec sum) {
#ifdef __AVX512BF16__
  if constexpr (Pairs) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#endif
  return fma(a, b, sum);
}

/// out[r] = start[r] (or 0) + a . b for Rows rows of kCols columns.
template <int Rows, bool Pairs>
void tile(const float* a, const float* b, int64_t cells, const float* start, float* out,
          int64_t start_stride, int64_t out_stride) {
  Vec s0[Rows], s1[Rows];
  if (start != nullptr) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      s0[r] = load(start + r * start_stride);
      s1[r] = load(start + r * start_stride + kLanes);
    }
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) s0[r] = s1[r] = zero();
  }
  for (int64_t k = 0; k < cells; ++k) {
    const Vec b0 = load(b);
    const Vec b1 = load(b + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Vec x = set1(a[r]);
      s0[r] = step<Pairs>(x, b0, s0[r]);
      s1[r] = step<Pairs>(x, b1, s1[r]);
    }
    a += kLanes;
    b += kCols;
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    store(out + r * out_stride, s0[r]);
    store(out + r * out_stride + kLanes, s1[r]);
  }
}

using Tile = void (*)(const float*, const float*, int64_t, const float*, float*, int64_t, int64_t);

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

void multiply(const TileJob& job) {
  alignas(64) float sums[kRows * kCols];
  const bool direct = job.dtype == DType::f32 && !job.add;
  for (int64_t col = 0; col < job.cols; col += kCols) {
    const int64_t cols = job.cols - col < kCols ? job.cols - col : kCols;
    const float* const b = job.b + col / kCols * (job.cells * kCols);
    for (int64_t row = 0; row < job.rows; row += kRows) {
      const int64_t rows = job.rows - row < kRows ? job.rows - row : kRows;
      const float* const a = job.a + row / kRows * (job.cells * kLanes);
      const Tile run = job.pairs ? tile_of<true>(rows) : tile_of<false>(rows);
      const int64_t at = row * job.sums_stride + col;
      const float* const start = job.start != nullptr ? job.start + at : nullptr;
      if (job.sums != nullptr) {
        run(a, b, job.cells, start, job.sums + at, job.sums_stride, job.sums_stride);
      } else if (direct && cols == kCols) {
        float* const c = static_cast<float*>(job.c) + row * job.c_stride + col;
        run(a, b, job.cells, start, c, job.sums_stride, job.c_stride);
      } else {
        run(a, b, job.cells, start, sums, job.sums_stride, kCols);
        finish_any(job, sums, row, rows, col, cols);
      }
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
