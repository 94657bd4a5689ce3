#include "generate/sampling.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace cria {
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

Sampler::Sampler(const SamplingSettings& settings, std::span<const int32_t> eos_ids,
                 std::span<const int32_t> prompt)
    : settings_(settings),
      eos_ids_(eos_ids.begin(), eos_ids.end()),
      random_(static_cast<uint32_t>(settings.seed)) {
  check_sampling(settings);
  if (settings.repetition_penalty == 1.0) return;
  seen_.assign(prompt.begin(), prompt.end());
  std::sort(seen_.begin(), seen_.end());
  seen_.erase(std::unique(seen_.begin(), seen_.end()), seen_.end());
}

ops::TokenRule Sampler::next(int64_t generated) {
  ops::TokenRule rule;
  rule.penalised = seen_;
  rule.repetition_penalty = settings_.repetition_penalty;
  if (generated < settings_.min_new_tokens) rule.forbidden = eos_ids_;
  rule.sample = settings_.do_sample;
  if (!rule.sample) return rule;
  rule.temperature = settings_.temperature;
  rule.top_k = settings_.top_k;
  rule.top_p = settings_.top_p;
  // numpy's random_sample: 27 and 26 bits of two draws.
  const double high = random_() >> 5, low = random_() >> 6;
  rule.uniform = (high * 67108864.0 + low) / 9007199254740992.0;
  return rule;
}

void Sampler::see(int32_t token) {
  if (settings_.repetition_penalty == 1.0) return;
  const auto at = std::lower_bound(seen_.begin(), seen_.end(), token);
  if (at == seen_.end() || *at != token) seen_.insert(at, token);
}

}  // namespace cria
