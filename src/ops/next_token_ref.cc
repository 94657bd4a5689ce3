#include "ops/next_token_ref.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace cria::ops {
namespace {

constexpr float kRemoved = -std::numeric_limits<float>::infinity();

int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

int32_t draw(std::span<const float> logits, double uniform) {
  const double highest = logits[static_cast<size_t>(argmax(logits))];
  double total = 0;
  for (const float x : logits) total += std::exp(x - highest);
  double cumulated = 0;
  int32_t last = 0;
  for (size_t id = 0; id < logits.size(); ++id) {
    const double probability = std::exp(logits[id] - highest) / total;
    if (probability == 0) continue;
    cumulated += probability;
    last = static_cast<int32_t>(id);
    if (uniform < cumulated) break;
  }
  return last;
}

}  // namespace

void apply_repetition_penalty(std::span<float> logits, std::span<const int32_t> ids,
                              double penalty) {
  const auto p = static_cast<float>(penalty);
  for (const int32_t id : ids) {
    float& x = logits[static_cast<size_t>(id)];
    x = x < 0 ? x * p : x / p;
  }
}

void apply_temperature(std::span<float> logits, double temperature) {
  float* const x = logits.data();
#pragma omp simd
  for (size_t i = 0; i < logits.size(); ++i) x[i] = static_cast<float>(x[i] / temperature);
}

void apply_top_k(std::span<float> logits, int64_t k) {
  if (k <= 0 || k >= std::ssize(logits)) return;
  std::vector<float> sorted(logits.begin(), logits.end());
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const float least = sorted[static_cast<size_t>(k - 1)];
  for (float& x : logits) {
    if (x < least) x = kRemoved;
  }
}

void apply_top_p(std::span<float> logits, double p) {
  if (p >= 1.0) return;
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  // Among equals the higher id counts as more likely, as in an ascending sort read from its end.
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a > b;
  });
  const double highest = logits[static_cast<size_t>(order[0])];
  double total = 0;
  for (const float x : logits) total += std::exp(x - highest);
  double before = 0;  // probability of everything more likely than this token
  for (const int32_t id : order) {
    float& x = logits[static_cast<size_t>(id)];
    const double probability = std::exp(x - highest) / total;
    if (before >= p) x = kRemoved;
    before += probability;
  }
}

int32_t next_token_ref(std::span<float> logits, const TokenRule& rule) {
  apply_repetition_penalty(logits, rule.penalised, rule.repetition_penalty);
  for (const int32_t id : rule.forbidden) logits[static_cast<size_t>(id)] = kRemoved;
  const int32_t best = argmax(logits);
  const float& highest = logits[static_cast<size_t>(best)];
  if (std::any_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); }) ||
      !std::isfinite(highest))
    return kNoToken;
  if (rule.sample) apply_temperature(logits, rule.temperature);
  if (!rule.sample || !std::isfinite(highest)) return best;
  apply_top_k(logits, rule.top_k);
  apply_top_p(logits, rule.top_p);
  return draw(logits, rule.uniform);
}

}  // namespace cria::ops
