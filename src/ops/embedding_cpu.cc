// Sums of listed rows, one instruction-set level.
#include "ops/embedding_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {

template <class T>
static void add_listed(const T* rows, int64_t stride, const int32_t* listed, int64_t count,
                       float* to, int64_t n) {
  // Four vectors of columns at once: the sums stay in registers while the rows go by.
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    Vec s[4] = {zero(), zero(), zero(), zero()};
    for (int64_t k = 0; k < count; ++k) {
      const T* row = rows + listed[k] * stride + i;
      for (int64_t j = 0; j < 4; ++j) s[j] = add(s[j], load(row + j * kLanes));
    }
    for (int64_t j = 0; j < 4; ++j) {
      float* p = to + i + j * kLanes;
      store(p, add(load(p), s[j]));
    }
  }
  for_lanes(n - i, [&](int64_t rest, auto m) {
    Vec s = zero();
    for (int64_t k = 0; k < count; ++k) s = add(s, load(rows + listed[k] * stride + i + rest, m));
    float* p = to + i + rest;
    store(p, add(load(p, m), s), m);
  });
}

static void add_rows(const void* rows, DType type, int64_t stride, const int32_t* listed,
                     int64_t count, float* to, int64_t n) {
  with_type(type, [&](auto t) {
    using T = typename decltype(t)::type;
    add_listed(static_cast<const T*>(rows), stride, listed, count, to, n);
  });
}

extern const EmbeddingKernels embedding_kernels = {add_rows};

}  // namespace cria::ops::CRIA_ISA
