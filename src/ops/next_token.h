// Choosing the next token from logits: what changes them, in the recipe's order, and the draw.
#pragma once

#include <cstdint>
#include <span>

#include "ops/exec.h"
#include "tensor/tensor.h"

namespace cria::ops {

/// What is asked for one row of logits, in this order.
struct TokenRule {
  /// The repetition penalty's ids, each once: x < 0 ? x * penalty : x / penalty.
  std::span<const int32_t> penalised;
  double repetition_penalty = 1.0;
  /// Never chosen.
  std::span<const int32_t> forbidden;
  /// false: the highest logit, the lower id among equals; the rest does not matter then.
  bool sample = false;
  /// Logits are divided by it; where that leaves no finite highest one, the highest is taken.
  double temperature = 1.0;
  /// Keeps the k highest; ties with the k-th stay. 0: all.
  int64_t top_k = 0;
  /// Keeps the smallest set of most likely tokens whose probabilities reach p, at least one; among equals the higher id counts as more
  /// likely.
  double top_p = 1.0;
  /// In [0, 1): the first token, by id, at which the cumulated probabilities exceed it.
  double uniform = 0.0;
};

/// Of a row that has a NaN, or whose highest logit is not finite.
constexpr int32_t kNoToken = -1;

/// ids[r] = the token that rules[r] chooses from row r of logits f32 [rows, vocab], which are used up. Waits for a device. There
/// probabilities are rounded to 2^-40 of the likeliest's; on the processor they are doubles.
void next_tokens(View logits, std::span<const TokenRule> rules, std::span<int32_t> ids,
                 const Exec& exec);

}  // namespace cria::ops
