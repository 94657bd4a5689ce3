#include "generate/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace cria {
namespace {

constexpr float kRemoved = -std::numeric_limits<float>::infinity();

}  // namespace

void check_sampling(const SamplingSettings& s) {
  require(std::isfinite(s.temperature) && s.temperature > 0,
          "generate: temperature is {}, expected a positive number", s.temperature);
  require(std::isfinite(s.repetition_penalty) && s.repetition_penalty > 0,
          "generate: repetition_penalty is {}, expected a positive number", s.repetition_penalty);
  require(s.top_p > 0 && s.top_p <= 1, "generate: top_p is {}, expected more than 0 and at most 1",
          s.top_p);
  require(s.top_k >= 0, "generate: top_k is {}, expected 0 or more", s.top_k);
  require(s.min_new_tokens >= 0, "generate: min_new_tokens is {}, expected 0 or more",
          s.min_new_tokens);
}

void apply_repetition_penalty(std::span<float> logits, std::span<const int32_t> seen,
                              double penalty) {
  if (penalty == 1.0) return;
  std::vector<int32_t> ids(seen.begin(), seen.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  const auto p = static_cast<float>(penalty);
  for (const int32_t id : ids) {
    float& x = logits[static_cast<size_t>(id)];
    x = x < 0 ? x * p : x / p;
  }
}

void apply_temperature(std::span<float> logits, double temperature) {
  for (float& x : logits) x = static_cast<float>(x / temperature);
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

int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Sampler::Sampler(const SamplingSettings& settings, std::span<const int32_t> eos_ids)
    : settings_(settings),
      eos_ids_(eos_ids.begin(), eos_ids.end()),
      random_(static_cast<uint32_t>(settings.seed)) {
  check_sampling(settings);
}

int32_t Sampler::choose(std::span<float> logits, std::span<const int32_t> seen, int64_t generated) {
  apply_repetition_penalty(logits, seen, settings_.repetition_penalty);
  if (generated < settings_.min_new_tokens) {
    for (const int32_t id : eos_ids_) logits[static_cast<size_t>(id)] = kRemoved;
  }
  if (!settings_.do_sample) return argmax(logits);
  if (std::any_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); })) {
    throw Error(
        ExitCode::numbers,
        "generate: the model's logits are not numbers; try: --dtype fp32, or other weights");
  }
  apply_temperature(logits, settings_.temperature);
  apply_top_k(logits, settings_.top_k);
  apply_top_p(logits, settings_.top_p);
  const double highest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float x : logits) total += std::exp(x - highest);
  // numpy's random_sample: 27 and 26 bits of two draws.
  const double high = random_() >> 5, low = random_() >> 6;
  const double uniform = (high * 67108864.0 + low) / 9007199254740992.0;
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

}  // namespace cria
