// Dot products that stream w in the order of memory, one row after the other, because that is what
// the processor's prefetching follows best (two to four rows at a time reach half of its speed).
// Each loaded piece of w is used for up to kXRows rows of x.
#include "ops/gemv_formats.h"
#include "ops/gemv_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {
namespace {

// Two sums each: half the registers.
#ifdef __AVX512F__
constexpr int kXRows = 8;
#else
constexpr int kXRows = 4;
#endif
constexpr int64_t kAheadBytes = 4096;  // prefetched into L2; the own prefetching stops at pages

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

/// Sums of a row of w with rows of x; each has two chains, to hide the latency of a multiply-add.
template <int X>
struct Sums {
  Vec at[X][2];
};

/// One step of kStep numbers of each row.
template <class Format, int X>
inline __attribute__((always_inline)) void step(Sums<X>& sums, const typename Format::Element* w,
                                                const float* x, int64_t x_stride) {
#pragma GCC unroll 4
  for (int64_t v = 0; v < Format::kVectors; v += 2) {
    Vec w0, w1;
    Format::load_two(w, v, w0, w1);
#pragma GCC unroll 8
    for (int j = 0; j < X; ++j) {
      const float* const at = x + j * x_stride + v * kLanes;
      sums.at[j][0] = Format::multiply_add(w0, load(at), sums.at[j][0]);
      sums.at[j][1] = Format::multiply_add(w1, load(at + kLanes), sums.at[j][1]);
    }
  }
}

/// Row o of w with rows [t, t + X) of x.
template <class Format, int X>
void row(const GemvJob& job, int64_t o, int64_t t) {
  using T = typename Format::Element;
  const T* const w = static_cast<const T*>(job.w) + o * job.w_stride;
  const float* x = job.x + t * job.x_stride;
  Sums<X> sums;
#pragma GCC unroll 8
  for (int j = 0; j < X; ++j) sums.at[j][0] = sums.at[j][1] = zero();
  constexpr int64_t kStepBytes = kStep * static_cast<int64_t>(sizeof(T));
  int64_t k = 0;
  for (; k + kStep <= job.depth; k += kStep) {
    const char* const ahead = reinterpret_cast<const char*>(w + k) + kAheadBytes;
#pragma GCC unroll 4
    for (int64_t at = 0; at < kStepBytes; at += 64) _mm_prefetch(ahead + at, _MM_HINT_T1);
    step<Format, X>(sums, w + k, x, job.x_stride);
    x += Format::kVectors * kLanes;
  }
  if (k < job.depth) {
    alignas(64) T tail[kStep];  // padded with 0
    for (int64_t i = 0; i < kStep; ++i) tail[i] = k + i < job.depth ? w[k + i] : T();
    step<Format, X>(sums, tail, x, job.x_stride);
  }
#pragma GCC unroll 8
  for (int j = 0; j < X; ++j) put_any(job, t + j, o, sum(add(sums.at[j][0], sums.at[j][1])));
}

/// Row o of w with the rows of x from t on, X at a time, then half as many...
template <class Format, int X>
inline void rows_of_x(const GemvJob& job, int64_t o, int64_t t) {
  for (; t + X <= job.x_rows; t += X) row<Format, X>(job, o, t);
  if constexpr (X > 1) {
    if (t < job.x_rows) rows_of_x<Format, X / 2>(job, o, t);
  }
}

struct DotsOf {
  const GemvJob& job;
  template <class Format>
  void with() const {
    for (int64_t o = 0; o < job.w_rows; ++o) rows_of_x<Format, kXRows>(job, o, 0);
  }
};

struct FloatsOf {
  int64_t steps;
  int64_t* floats;
  template <class Format>
  void with() const {
    *floats = steps * Format::kVectors * kLanes;
  }
};

struct PrepareFrom {
  const void* from;
  DType dtype;
  int64_t depth;
  float* to;
  template <class Format>
  void with() const {
    Format::prepare(from, dtype, depth, to);
  }
};

void dots(const GemvJob& job) { choose_format(job.x_dtype, job.w_dtype, DotsOf{job}); }

int64_t prepared_floats(DType x, DType w, int64_t depth) {
  int64_t floats = 0;
  choose_format(x, w, FloatsOf{(depth + kStep - 1) / kStep, &floats});
  return floats;
}

void prepare(const void* from, DType x, DType w, int64_t depth, float* to) {
  choose_format(x, w, PrepareFrom{from, x, depth, to});
}

}  // namespace

const GemvKernels gemv_kernels = {dots, prepared_floats, prepare};

}  // namespace cria::ops::CRIA_ISA
