#include "ops/next_token.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "ops/token_rules.h"

namespace cria::ops {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<int32_t> chosen(const Tensor& logits, std::span<const TokenRule> rules,
                            bool reference = false) {
  ThreadPool pool(2);
  Tensor used_up = logits.copy_to(nullptr);
  std::vector<int32_t> ids(rules.size());
  next_tokens(used_up, rules, ids, Exec{.pool = pool, .reference = reference});
  return ids;
}

TEST(NextToken, IsThePlainVersionsForEveryMixOfRules) {
  for (const int64_t vocab : {1, 2, 40, 700, 3001}) {
    for (const bool coarse : {false, true}) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        const TokenRules asked(vocab, seed);
        const Tensor logits = random_logits(std::ssize(asked.rules), vocab, coarse, seed);
        const std::vector<int32_t> fast = chosen(logits, asked.rules);
        const std::vector<int32_t> plain = chosen(logits, asked.rules, true);
        for (size_t i = 0; i < fast.size(); ++i)
          ASSERT_EQ(fast[i], plain[i]) << "vocabulary " << vocab << ", " << say(asked.rules[i]);
      }
    }
  }
}

// 4 tokens of probabilities 0.1, 0.2, 0.3, 0.4 and draws all over [0, 1).
TEST(NextToken, DrawsByProbabilityInTheOrderOfIds) {
  const std::vector<float> x = {std::log(0.1f), std::log(0.2f), std::log(0.3f), std::log(0.4f)};
  constexpr int kDraws = 1000;
  Tensor logits(DType::f32, kDraws, 4);
  std::vector<TokenRule> rules(kDraws);
  for (int i = 0; i < kDraws; ++i) {
    std::copy(x.begin(), x.end(), logits.view().row<float>(i).begin());
    rules[static_cast<size_t>(i)].sample = true;
    rules[static_cast<size_t>(i)].uniform = (i + 0.5) / kDraws;
  }
  std::map<int32_t, int> times;
  int32_t last = 0;
  for (const int32_t id : chosen(logits, rules)) {
    EXPECT_GE(id, last);
    last = id;
    ++times[id];
  }
  EXPECT_EQ(times, (std::map<int32_t, int>{{0, 100}, {1, 200}, {2, 300}, {3, 400}}));
}

Tensor one_row(const std::vector<float>& x) {
  Tensor logits(DType::f32, 1, std::ssize(x));
  std::copy(x.begin(), x.end(), logits.view().row<float>(0).begin());
  return logits;
}

TEST(NextToken, IsNoneWhereLogitsAreNoNumbers) {
  TokenRule rule;
  for (const bool sample : {false, true}) {
    rule.sample = sample;
    for (const bool reference : {false, true}) {
      for (const float bad : {std::nanf(""), kInfinity})
        EXPECT_EQ(chosen(one_row({1, bad, 2}), {&rule, 1}, reference)[0], kNoToken);
      EXPECT_EQ(chosen(one_row({-kInfinity, -kInfinity}), {&rule, 1}, reference)[0], kNoToken);
      EXPECT_EQ(chosen(one_row({-kInfinity, -3}), {&rule, 1}, reference)[0], 1);
    }
  }
}

TEST(NextToken, IsTheHighestWhereTheTemperatureLeavesNothingElse) {
  TokenRule rule;
  rule.sample = true;
  rule.temperature = 1e-45;
  for (const bool reference : {false, true})
    EXPECT_EQ(chosen(one_row({1, 3, 2, -1}), {&rule, 1}, reference)[0], 1);
}

TEST(NextToken, RefusesIdsOutsideTheVocabularyAndMissingRules) {
  const int32_t id = 4;
  TokenRule rule;
  rule.forbidden = {&id, 1};
  EXPECT_THROW(chosen(one_row({1, 2, 3, 4}), {&rule, 1}), UsageError);
  EXPECT_THROW(chosen(one_row({1, 2, 3, 4}), {}), UsageError);
}

}  // namespace
}  // namespace cria::ops
