// Choosing the next token: what may change the logits, in the recipe's order, and the draw.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace cria {

struct SamplingSettings {
  bool do_sample =
      false;  // false: the highest logit; top_k, top_p and temperature then do not matter
  double temperature = 1.0;
  int64_t top_k = 0;  // 0: no limit
  double top_p = 1.0;
  double repetition_penalty = 1.0;
  int64_t min_new_tokens = 0;  // no end before so many new tokens
  uint64_t seed = 0;
};
/// Throws UsageError naming the setting: temperature and penalty finite and positive, 0 < top_p <= 1, top_k >= 0.
void check_sampling(const SamplingSettings& settings);

// Each works in place on one row of logits; a removed token becomes minus infinity.

/// Every id seen (in the prompt or generated; once each): x < 0 ? x * penalty : x / penalty.
void apply_repetition_penalty(std::span<float> logits, std::span<const int32_t> seen,
                              double penalty);
void apply_temperature(std::span<float> logits, double temperature);
/// Keeps the k highest; ties with the k-th stay.
void apply_top_k(std::span<float> logits, int64_t k);
/// Keeps the smallest set of most likely tokens whose probabilities reach p; at least one.
void apply_top_p(std::span<float> logits, double p);

/// The highest logit; the lower id among equals.
int32_t argmax(std::span<const float> logits);

/// One sequence's chooser. Draws are numpy's: MT19937 seeded with `seed`, one 53-bit uniform per token, looked up in the
/// cumulated probabilities; so a run repeats, and a row's draws do not depend on other rows.
class Sampler {
 public:
  Sampler(const SamplingSettings& settings, std::span<const int32_t> eos_ids);
  /// `logits` is used up. `seen` holds prompt and generated ids, `generated` counts the new ones so far.
  int32_t choose(std::span<float> logits, std::span<const int32_t> seen, int64_t generated);

 private:
  SamplingSettings settings_;
  std::vector<int32_t> eos_ids_;
  std::mt19937 random_;
};

}  // namespace cria
