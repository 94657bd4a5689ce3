// Head and loss close to the formula: one token at a time, everything in double but the rounding of
// logits that the contract asks for.
#include "ops/linear_cross_entropy_ref.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/reference.h"

namespace cria::ops {
namespace {

double rounded_to(DType dtype, double value) {
  const auto f = static_cast<float>(value);
  if (dtype == DType::bf16) return static_cast<float>(bf16(f));
  if (dtype == DType::f16) return static_cast<float>(f16(f));
  return value;
}

/// One token's logits become softmax - onehot; returns the loss. `target` may be in another slice.
double loss_and_gradient(std::vector<double>& row, int64_t target, const VocabSplit* split) {
  double most = *std::max_element(row.begin(), row.end());
  if (split != nullptr) {
    auto shift = static_cast<float>(most);  // any number near the largest will do
    split->max({&shift, 1});
    most = shift;
  }
  const bool here = target >= 0 && target < static_cast<int64_t>(row.size());
  double sums[2] = {0, here ? row[static_cast<size_t>(target)] : 0};
  for (const double logit : row) sums[0] += std::exp(logit - most);
  if (split != nullptr) split->sum(sums);
  for (double& logit : row) logit = std::exp(logit - most) / sums[0];
  if (here) row[static_cast<size_t>(target)] -= 1;
  return most + std::log(sums[0]) - sums[1];
}

}  // namespace

void linear_cross_entropy_ref(ConstView x, ConstView w, std::span<const int32_t> targets,
                              std::span<float> token_loss, const HeadGradients& gradients,
                              const VocabSplit* split) {
  const int64_t hidden = x.cols, vocab = w.rows;
  const bool wanted = gradients.dx.data != nullptr;
  std::vector<double> row(static_cast<size_t>(vocab)), dx(static_cast<size_t>(hidden));
  std::vector<double> dw(wanted ? static_cast<size_t>(vocab * hidden) : 0);
  for (int64_t t = 0; t < x.rows; ++t) {
    const int64_t target = targets[static_cast<size_t>(t)];
    std::fill(dx.begin(), dx.end(), 0.0);
    token_loss[static_cast<size_t>(t)] = 0;
    if (target >= 0) {
      for (int64_t o = 0; o < vocab; ++o) {
        double sum = 0;
        for (int64_t i = 0; i < hidden; ++i) sum += get(x, t, i) * get(w, o, i);
        row[static_cast<size_t>(o)] = rounded_to(x.dtype, sum);
      }
      const int64_t first_row = split != nullptr ? split->first_row : 0;
      token_loss[static_cast<size_t>(t)] =
          static_cast<float>(loss_and_gradient(row, target - first_row, split));
      for (int64_t o = 0; wanted && o < vocab; ++o) {
        const double d = row[static_cast<size_t>(o)] * gradients.scale;
        for (int64_t i = 0; i < hidden; ++i) {
          dx[static_cast<size_t>(i)] += d * get(w, o, i);
          dw[static_cast<size_t>(o * hidden + i)] += d * get(x, t, i);
        }
      }
    }
    for (int64_t i = 0; wanted && i < hidden; ++i) {
      set(gradients.dx, t, i, dx[static_cast<size_t>(i)]);
    }
  }
  for (int64_t o = 0; wanted && o < vocab; ++o) {
    for (int64_t i = 0; i < hidden; ++i) {
      set(gradients.dw, o, i, dw[static_cast<size_t>(o * hidden + i)]);
    }
  }
}

}  // namespace cria::ops
