// Copies with conversion and sums, one instruction-set level.
#include "ops/elementwise_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {

template <class From, class To>
static void convert_run(const From* from, To* to, int64_t n) {
  for_lanes(n, [&](int64_t i, auto m) { store(to + i, load(from + i, m), m); });
}

template <class X, class Y>
static void add_run(X* x, const Y* y, int64_t n) {
  for_lanes(n, [&](int64_t i, auto m) { store(x + i, add(load(x + i, m), load(y + i, m)), m); });
}

static void convert_any(const void* from, DType from_type, void* to, DType to_type, int64_t n) {
  with_type(from_type, [&](auto f) {
    with_type(to_type, [&](auto t) {
      using From = typename decltype(f)::type;
      using To = typename decltype(t)::type;
      convert_run(static_cast<const From*>(from), static_cast<To*>(to), n);
    });
  });
}

static void add_any(void* x, DType x_type, const void* y, DType y_type, int64_t n) {
  with_type(x_type, [&](auto xt) {
    with_type(y_type, [&](auto yt) {
      using X = typename decltype(xt)::type;
      using Y = typename decltype(yt)::type;
      add_run(static_cast<X*>(x), static_cast<const Y*>(y), n);
    });
  });
}

extern const ElementwiseKernels elementwise_kernels = {convert_any, add_any};

}  // namespace cria::ops::CRIA_ISA
