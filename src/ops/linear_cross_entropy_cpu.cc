// From a row of logits to its loss and gradient, one instruction-set level.
#include <math.h>

#include "ops/linear_cross_entropy_kernels.h"
#include "ops/simd.h"

namespace cria::ops::CRIA_ISA {

static void round_row(float* row, int64_t n) {
  for_lanes(n, [&](int64_t i, auto m) {
    f16 half[kLanes];
    store(half, load(row + i, m));
    store(row + i, load(half), m);
  });
}

template <class T>
static float largest(const T* row, int64_t n) {
  Vec most[4] = {set1(-INFINITY), set1(-INFINITY), set1(-INFINITY), set1(-INFINITY)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int64_t v = 0; v < 4; ++v) most[v] = max(most[v], load(row + i + v * kLanes));
  }
  for (; i < n; i += kLanes) {
    const Mask m = first(n - i);
    most[0] = max(most[0], select(m, load(row + i, m), set1(-INFINITY)));
  }
  return max_of(max(max(most[0], most[1]), max(most[2], most[3])));
}

template <class T>
static float sum_of_row(const T* row, int64_t vocab, float most) {
  const Vec m = set1(most);
  return sum_lanes(vocab, [&](Vec so_far, int64_t i, auto in) {
    return add(so_far, select(in, exp(sub(load(row + i, in), m)), zero()));
  });
}

template <class T>
static void into_gradient(T* row, int64_t vocab, float most, float sum, int64_t target,
                          float scale) {
  const Vec m = set1(most);
  alignas(64) float weight[kLanes];
  if (target >= 0) store(weight, exp(sub(load(row + target, first(1)), m)));
  const Vec factor = set1(scale / sum);
  for_lanes(vocab, [&](int64_t i, auto in) {
    store(row + i, mul(exp(sub(load(row + i, in), m)), factor), in);
  });
  if (target >= 0) store(row + target, set1((weight[0] / sum - 1.0f) * scale), first(1));
}

template <class T>
static float finish_row(T* row, int64_t vocab, int64_t target, bool gradient, float scale) {
  const float most = largest(row, vocab);
  const float sum = sum_of_row(row, vocab, most);
  alignas(64) float relative[kLanes];
  store(relative, sub(load(row + target, first(1)), set1(most)));
  if (gradient) into_gradient(row, vocab, most, sum, target, scale);
  return logf(sum) - relative[0];
}

static float row(void* logits, DType dtype, bool round_to_f16, int64_t vocab, int64_t target,
                 bool gradient, float scale) {
  if (dtype == DType::bf16) {
    return finish_row(static_cast<bf16*>(logits), vocab, target, gradient, scale);
  }
  auto* f = static_cast<float*>(logits);
  if (round_to_f16) round_row(f, vocab);
  return finish_row(f, vocab, target, gradient, scale);
}

static float largest_logit(void* logits, DType dtype, bool round_to_f16, int64_t vocab) {
  if (dtype == DType::bf16) return largest(static_cast<const bf16*>(logits), vocab);
  auto* f = static_cast<float*>(logits);
  if (round_to_f16) round_row(f, vocab);
  return largest(f, vocab);
}

static float sum_of_exp(const void* logits, DType dtype, int64_t vocab, float most) {
  if (dtype == DType::bf16) return sum_of_row(static_cast<const bf16*>(logits), vocab, most);
  return sum_of_row(static_cast<const float*>(logits), vocab, most);
}

static void gradient_of_row(void* logits, DType dtype, int64_t vocab, float most, float sum,
                            int64_t target, float scale) {
  if (dtype == DType::bf16) {
    return into_gradient(static_cast<bf16*>(logits), vocab, most, sum, target, scale);
  }
  into_gradient(static_cast<float*>(logits), vocab, most, sum, target, scale);
}

extern const LinearCrossEntropyKernels linear_cross_entropy_kernels = {row, largest_logit,
                                                                       sum_of_exp, gradient_of_row};

}  // namespace cria::ops::CRIA_ISA
