// Rows of logits and what may be asked for them, for the tests of next_tokens.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "ops/next_token.h"
#include "ops/random_matrix.h"

namespace cria::ops {

/// Logits [rows, vocab]; coarse ones have many equals.
inline Tensor random_logits(int64_t rows, int64_t vocab, bool coarse, uint64_t seed) {
  Tensor logits = random_matrix(DType::f32, rows, vocab, seed);
  for (int64_t r = 0; r < rows; ++r)
    for (float& x : logits.view().row<float>(r)) x = coarse ? std::round(x * 4) : x * 8;
  return logits;
}

/// Every mix of penalty, forbidden ids, temperature, top_k and top_p, and greedy choice; each with a draw of its own.
struct TokenRules {
  std::vector<int32_t> penalised, forbidden;
  std::vector<TokenRule> rules;
  explicit TokenRules(int64_t vocab, uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto any_id = [&] {
      return static_cast<int32_t>(random() % static_cast<uint64_t>(vocab));
    };
    for (int32_t id = any_id(); id < vocab; id += 3) penalised.push_back(id);
    if (vocab > 2) forbidden = {any_id(), any_id()};
    for (const bool changed : {false, true}) {
      for (const double temperature : {1.0, 0.37, 3.0}) {
        for (const int64_t k : {int64_t{0}, int64_t{1}, vocab / 3, vocab - 1, vocab + 5}) {
          for (const double p : {1.0, 0.123, 0.777, 0.9993}) {
            TokenRule rule;
            if (changed) rule.penalised = penalised, rule.forbidden = forbidden;
            rule.repetition_penalty = changed ? 1.3 : 1.0;
            rule.sample = true;
            rule.temperature = temperature;
            rule.top_k = k;
            rule.top_p = p;
            rule.uniform = static_cast<double>(random() >> 11) * 0x1p-53;
            rules.push_back(rule);
          }
        }
      }
      TokenRule greedy;
      if (changed) greedy.penalised = penalised, greedy.forbidden = forbidden;
      greedy.repetition_penalty = changed ? 0.8 : 1.0;
      rules.push_back(greedy);
    }
  }
};

inline std::string say(const TokenRule& r) {
  return r.sample
             ? "temperature " + std::to_string(r.temperature) + " top_k " +
                   std::to_string(r.top_k) + " top_p " + std::to_string(r.top_p) + " uniform " +
                   std::to_string(r.uniform) + " penalised " + std::to_string(r.penalised.size())
             : "greedy";
}

}  // namespace cria::ops
