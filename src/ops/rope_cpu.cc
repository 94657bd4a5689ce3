// Rotation of pairs, one instruction-set level.
#include "ops/rope_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {

template <class T>
static void rotate(T* x, int64_t heads, int64_t half, const float* cosines, const float* sines,
                   float sign) {
  const Vec s = set1(sign);
  for (int64_t h = 0; h < heads; ++h, x += 2 * half) {
    for_lanes(half, [&](int64_t j, auto m) {
      const Vec x1 = load(x + j, m), x2 = load(x + half + j, m);
      const Vec c = load(cosines + j, m), n = mul(load(sines + j, m), s);
      store(x + j, sub(mul(x1, c), mul(x2, n)), m);
      store(x + half + j, add(mul(x2, c), mul(x1, n)), m);
    });
  }
}

static void token(void* x, DType dtype, int64_t heads, int64_t half, const float* cosines,
                  const float* sines, float sign) {
  with_type(dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    rotate(static_cast<T*>(x), heads, half, cosines, sines, sign);
  });
}

extern const RopeKernels rope_kernels = {token};

}  // namespace cria::ops::CRIA_ISA
