// How next tokens are chosen, and one sequence's draws.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "ops/next_token.h"

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

/// One sequence's chooser. Draws are numpy's: MT19937 seeded with `seed`, one 53-bit uniform per token, looked up in the
/// cumulated probabilities; so a run repeats, and a row's draws do not depend on other rows.
class Sampler {
 public:
  /// `prompt` counts as seen by the repetition penalty.
  Sampler(const SamplingSettings& settings, std::span<const int32_t> eos_ids,
          std::span<const int32_t> prompt);
  /// What to ask for the next token's logits, when `generated` are there. Holds until see() is called. Draws once.
  [[nodiscard]] ops::TokenRule next(int64_t generated);
  void see(int32_t token);

 private:
  SamplingSettings settings_;
  std::vector<int32_t> eos_ids_;
  std::vector<int32_t> seen_;  // ascending, each once; kept only for a penalty
  std::mt19937 random_;
};

}  // namespace cria
