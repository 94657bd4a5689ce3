// The plain version of next_tokens: one step after the other over the whole row. Internal to ops, and the oracle of its tests.
#pragma once

#include <cstdint>
#include <span>

#include "ops/next_token.h"

namespace cria::ops {

// Each works in place on one row of logits; a removed token becomes minus infinity.

void apply_repetition_penalty(std::span<float> logits, std::span<const int32_t> ids,
                              double penalty);
void apply_temperature(std::span<float> logits, double temperature);
void apply_top_k(std::span<float> logits, int64_t k);
void apply_top_p(std::span<float> logits, double p);

int32_t next_token_ref(std::span<float> logits, const TokenRule& rule);

}  // namespace cria::ops
