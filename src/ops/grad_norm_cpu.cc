// Sums of squares in f64, one instruction-set level.
#include "ops/grad_norm_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {

// 32 sums side by side: the compiler keeps them in registers, and additions need not wait for each
// other. The order of the sum is the same at every level.
static double sum_of_squares(const float* x, int64_t n) {
  constexpr int64_t kSums = 32;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
#pragma omp simd
    for (int64_t j = 0; j < kSums; ++j) {
      const double v = x[i + j];
      sums[j] += v * v;
    }
  }
  for (int64_t j = 0; i < n; ++i, ++j) sums[j] += static_cast<double>(x[i]) * x[i];
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

extern const GradNormKernels grad_norm_kernels = {sum_of_squares};

}  // namespace cria::ops::CRIA_ISA
