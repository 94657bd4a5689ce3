// Rows of RMS normalisation, one instruction-set level.
#include "ops/rms_norm_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {

static float sum_of_squares(const void* x, DType x_type, int64_t n) {
  float result = 0;
  with_type(x_type, [&](auto type) {
    const auto* p = static_cast<const typename decltype(type)::type*>(x);
    result = sum_lanes(n, [&](Vec s, int64_t i, auto m) {
      const Vec v = load(p + i, m);
      return fma(v, v, s);
    });
  });
  return result;
}

template <class X, class B>
static float add_row(X* x, const B* branch, int64_t n) {
  return sum_lanes(n, [&](Vec s, int64_t i, auto m) {
    store(x + i, add(load(x + i, m), load(branch + i, m)), m);
    const Vec v = load(x + i, m);  // rounded to X
    return fma(v, v, s);
  });
}

static float add_sum_of_squares(void* x, DType x_type, const void* branch, DType branch_type,
                                int64_t n) {
  float result = 0;
  with_type(x_type, [&](auto xt) {
    with_type(branch_type, [&](auto bt) {
      using X = typename decltype(xt)::type;
      using B = typename decltype(bt)::type;
      result = add_row(static_cast<X*>(x), static_cast<const B*>(branch), n);
    });
  });
  return result;
}

template <class X, class Y>
static void scale_row(const X* x, const float* weight, float rstd, Y* y, int64_t n) {
  const Vec r = set1(rstd);
  for_lanes(n, [&](int64_t i, auto m) {
    store(y + i, mul(mul(load(x + i, m), r), load(weight + i, m)), m);
  });
}

static void scale(const void* x, DType x_type, const float* weight, float rstd, void* y,
                  DType y_type, int64_t n) {
  with_type(x_type, [&](auto xt) {
    with_type(y_type, [&](auto yt) {
      using X = typename decltype(xt)::type;
      using Y = typename decltype(yt)::type;
      scale_row(static_cast<const X*>(x), weight, rstd, static_cast<Y*>(y), n);
    });
  });
}

// dx += rstd * dy * weight - x * (rstd^3 * mean(dy * weight * x)), dweight += dy * (x * rstd)
template <class X, class DY, class DX>
static void backward_row(const X* x, const DY* dy, DX* dx, const RmsNormBackwardRow& row) {
  const float* weight = row.weight;
  const float dot = sum_lanes(row.n, [&](Vec s, int64_t i, auto m) {
    return fma(mul(load(dy + i, m), load(weight + i, m)), load(x + i, m), s);
  });
  const float mean = dot / static_cast<float>(row.n);
  const Vec rstd = set1(row.rstd);
  const Vec along_x = set1(-(row.rstd * row.rstd) * mean);
  for_lanes(row.n, [&](int64_t i, auto m) {
    const Vec g = load(dy + i, m), n = mul(load(x + i, m), rstd);
    const Vec d = fma(n, along_x, mul(mul(g, load(weight + i, m)), rstd));
    store(dx + i, add(load(dx + i, m), d), m);
    store(row.dweight + i, fma(g, n, load(row.dweight + i, m)), m);
  });
}

static void backward(const RmsNormBackwardRow& row) {
  with_type(row.x_type, [&](auto xt) {
    with_type(row.dy_type, [&](auto dyt) {
      with_type(row.dx_type, [&](auto dxt) {
        using X = typename decltype(xt)::type;
        using DY = typename decltype(dyt)::type;
        using DX = typename decltype(dxt)::type;
        backward_row(static_cast<const X*>(row.x), static_cast<const DY*>(row.dy),
                     static_cast<DX*>(row.dx), row);
      });
    });
  });
}

extern const RmsNormKernels rms_norm_kernels = {sum_of_squares, add_sum_of_squares, scale,
                                                backward};

}  // namespace cria::ops::CRIA_ISA
