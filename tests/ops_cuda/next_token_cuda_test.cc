// Tokens chosen on the device, against the plain version: the same token for every rule.
#include <gtest/gtest.h>

#include <limits>

#include "ops/next_token.h"
#include "ops/token_rules.h"
#include "ops_cuda/tested_device.h"

namespace cria::ops {
namespace {

std::vector<int32_t> chosen_there(const Tensor& logits, std::span<const TokenRule> rules,
                                  bool descend = false) {
  There there(logits);
  std::vector<int32_t> ids(rules.size());
  threads_descend(descend);
  next_tokens(there, rules, ids, on_device());
  threads_descend(false);
  return ids;
}

TEST(NextTokenOnDevice, IsThePlainVersionsForEveryMixOfRules) {
  uint64_t seed = 0;
  // Rows of one part and of several, the last one with all that there can be.
  for (const auto& [vocab, rows] :
       {std::pair<int64_t, size_t>{1, 7}, {2, 7}, {700, 40}, {3001, 8}, {33000, 1}}) {
    for (const bool coarse : {false, true}) {
      const TokenRules asked(vocab, ++seed);
      std::vector<TokenRule> rules;
      for (size_t i = 0; i < rows; ++i) rules.push_back(asked.rules[(seed + i * 17) % 122]);
      Tensor logits = random_logits(std::ssize(rules), vocab, coarse, 7);
      const std::vector<int32_t> there = chosen_there(logits, rules);
      EXPECT_EQ(chosen_there(logits, rules, true), there) << "the order of threads shows";
      std::vector<int32_t> plain(rules.size());
      next_tokens(logits, rules, plain, reference());
      for (size_t i = 0; i < plain.size(); ++i)
        ASSERT_EQ(there[i], plain[i]) << "vocabulary " << vocab << ", " << say(rules[i]);
    }
  }
}

TEST(NextTokenOnDevice, IsNoneWhereLogitsAreNoNumbers) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  Tensor logits = random_logits(4, 1000, false, 1);
  logits.view().row<float>(0)[777] = std::nanf("");
  logits.view().row<float>(1)[3] = infinity;
  for (float& x : logits.view().row<float>(2)) x = -infinity;
  std::vector<TokenRule> rules(4);
  for (const bool sample : {false, true}) {
    for (TokenRule& rule : rules) rule.sample = sample;
    const std::vector<int32_t> ids = chosen_there(logits, rules);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(ids[i], kNoToken);
    EXPECT_NE(ids[3], kNoToken);
  }
  rules[3].temperature = 1e-45;  // leaves nothing but the highest
  std::vector<int32_t> plain(4);
  const std::vector<int32_t> ids = chosen_there(logits, rules);
  next_tokens(logits, rules, plain, reference());
  EXPECT_EQ(ids, plain);
}

}  // namespace
}  // namespace cria::ops
