// Dot products that stream w once: a block of w's rows meets a block of x's rows, so that each
// loaded piece of w is used for all of them.
#include "ops/gemv_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {
namespace {

constexpr int kWRows = 4;  // four streams keep the memory busy and hide the latency of the sums
#ifdef __AVX512F__
constexpr int kXRows = 4;
#else
constexpr int kXRows = 2;
#endif

template <class T>
void put(T* y, float sum, bool add_to) {
  const Mask one = first(1);
  const Vec s = set1(sum);
  store(y, add_to ? add(load(y, one), s) : s, one);
}

void put_any(const GemvJob& job, int64_t t, int64_t o, float sum) {
  const int64_t at = t * job.y_stride + o;
  switch (job.y_dtype) {
    case DType::bf16:
      return put(static_cast<bf16*>(job.y) + at, sum, job.add);
    case DType::f16:
      return put(static_cast<f16*>(job.y) + at, sum, job.add);
    default:
      return put(static_cast<float*>(job.y) + at, sum, job.add);
  }
}

/// Rows [o, o + W) of w with rows [t, t + X) of x.
template <class T, int W, int X>
void block(const GemvJob& job, int64_t o, int64_t t) {
  const T* const w = static_cast<const T*>(job.w) + o * job.w_stride;
  const float* const x = job.x + t * job.x_stride;
  Vec sums[W][X];
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < X; ++j) sums[i][j] = zero();
  }
  int64_t k = 0;
  for (; k + kLanes <= job.depth; k += kLanes) {
    Vec xs[X];
#pragma GCC unroll 8
    for (int j = 0; j < X; ++j) xs[j] = load(x + j * job.x_stride + k);
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) {
      const Vec ws = load(w + i * job.w_stride + k);
#pragma GCC unroll 8
      for (int j = 0; j < X; ++j) sums[i][j] = fma(ws, xs[j], sums[i][j]);
    }
  }
  if (k < job.depth) {
    const Mask m = first(job.depth - k);
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) {
      const Vec ws = load(w + i * job.w_stride + k, m);
#pragma GCC unroll 8
      for (int j = 0; j < X; ++j) {
        sums[i][j] = fma(ws, load(x + j * job.x_stride + k, m), sums[i][j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < X; ++j) put_any(job, t + j, o + i, sum(sums[i][j]));
  }
}

template <class T, int W>
void rows_of_x(const GemvJob& job, int64_t o) {
  int64_t t = 0;
  for (; t + kXRows <= job.x_rows; t += kXRows) block<T, W, kXRows>(job, o, t);
  if constexpr (kXRows > 2) {
    if (t + 2 <= job.x_rows) {
      block<T, W, 2>(job, o, t);
      t += 2;
    }
  }
  if (t < job.x_rows) block<T, W, 1>(job, o, t);
}

template <class T>
void dots_of(const GemvJob& job) {
  int64_t o = 0;
  for (; o + kWRows <= job.w_rows; o += kWRows) rows_of_x<T, kWRows>(job, o);
  for (; o < job.w_rows; ++o) rows_of_x<T, 1>(job, o);
}

void dots(const GemvJob& job) {
  switch (job.w_dtype) {
    case DType::bf16:
      return dots_of<bf16>(job);
    case DType::f16:
      return dots_of<f16>(job);
    default:
      return dots_of<float>(job);
  }
}

template <class T>
void widen_from(const T* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
  if (i < count) store(to + i, load(from + i, first(count - i)), first(count - i));
}

void widen(const void* from, DType dtype, int64_t count, float* to) {
  switch (dtype) {
    case DType::bf16:
      return widen_from(static_cast<const bf16*>(from), count, to);
    case DType::f16:
      return widen_from(static_cast<const f16*>(from), count, to);
    default:
      return widen_from(static_cast<const float*>(from), count, to);
  }
}

}  // namespace

const GemvKernels gemv_kernels = {dots, widen};

}  // namespace cria::ops::CRIA_ISA
