// On the processor only tokens that are still in question are looked at: after top_k a few, and of the others top_p sorts no more
// than it keeps, in growing parts. The order of every sum is the plain version's.
#include "ops/next_token.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "ops/device.h"
#include "ops/door.h"
#include "ops/next_token_ref.h"

namespace cria::ops {
namespace {

/// What a draw needs; kept by each thread, so that tokens allocate nothing.
struct Candidates {
  std::vector<int32_t> ids;     // still in question, ascending
  std::vector<double> weights;  // exp(logit - highest) of each
  std::vector<float> highest;   // a heap
  std::vector<int32_t> order;   // places in ids, the likeliest first
};

float highest_of(std::span<const float> x) {
  float most = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : most)
  for (size_t i = 0; i < x.size(); ++i) most = most < x[i] ? x[i] : most;
  return most;
}

/// The k-th highest, 0 < k <= x.size(): the least of a heap that holds the k highest seen.
float kth_highest(std::span<const float> x, int64_t k, std::vector<float>& heap) {
  const auto first = x.begin() + k;
  heap.assign(x.begin(), first);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  for (auto i = first; i != x.end(); ++i) {
    if (!(*i > heap.front())) continue;
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.back() = *i;
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  return heap.front();
}

/// Leaves the likeliest candidates, whose probabilities reach p, in the order of their ids.
void keep_top_p(std::span<const float> logits, double p, Candidates& c) {
  const double total = std::accumulate(c.weights.begin(), c.weights.end(), 0.0);
  c.order.resize(c.ids.size());
  std::iota(c.order.begin(), c.order.end(), 0);
  const auto more_likely = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(c.ids[static_cast<size_t>(a)])];
    const float y = logits[static_cast<size_t>(c.ids[static_cast<size_t>(b)])];
    return x != y ? x > y : a > b;
  };
  double before = 0;  // probability of everything more likely
  size_t kept = 0, sorted = 0;
  while (before < p && kept < c.order.size()) {
    if (kept == sorted) {
      const size_t more = std::min(c.order.size(), std::max<size_t>(64, 4 * sorted));
      const auto begin = c.order.begin();
      std::partial_sort(begin + static_cast<ptrdiff_t>(sorted),
                        begin + static_cast<ptrdiff_t>(more), c.order.end(), more_likely);
      sorted = more;
    }
    before += c.weights[static_cast<size_t>(c.order[kept++])] / total;
  }
  c.order.resize(kept);
  std::sort(c.order.begin(), c.order.end());
  for (size_t i = 0; i < kept; ++i) {
    const auto from = static_cast<size_t>(c.order[i]);
    c.ids[i] = c.ids[from];
    c.weights[i] = c.weights[from];
  }
  c.ids.resize(kept);
  c.weights.resize(kept);
}

int32_t draw(const Candidates& c, double uniform) {
  const double total = std::accumulate(c.weights.begin(), c.weights.end(), 0.0);
  double cumulated = 0;
  int32_t last = 0;
  for (size_t i = 0; i < c.ids.size(); ++i) {
    const double probability = c.weights[i] / total;
    if (probability == 0) continue;
    cumulated += probability;
    last = c.ids[i];
    if (uniform < cumulated) break;
  }
  return last;
}

int32_t next_token(std::span<float> logits, const TokenRule& rule) {
  constexpr float removed = -std::numeric_limits<float>::infinity();
  apply_repetition_penalty(logits, rule.penalised, rule.repetition_penalty);
  for (const int32_t id : rule.forbidden) logits[static_cast<size_t>(id)] = removed;
  bool numbers = true;
  for (const float x : logits) numbers &= x == x;
  const float most = highest_of(logits);
  if (!numbers || !std::isfinite(most)) return kNoToken;
  const auto highest = static_cast<double>(static_cast<float>(most / rule.temperature));
  if (!rule.sample || !std::isfinite(highest))
    return static_cast<int32_t>(std::find(logits.begin(), logits.end(), most) - logits.begin());
  apply_temperature(logits, rule.temperature);
  thread_local Candidates c;
  const bool limited = rule.top_k > 0 && rule.top_k < std::ssize(logits);
  const float least = limited ? kth_highest(logits, rule.top_k, c.highest) : removed;
  c.ids.clear();
  c.weights.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    if (logits[id] < least || logits[id] == removed) continue;
    c.ids.push_back(static_cast<int32_t>(id));
    c.weights.push_back(std::exp(logits[id] - highest));
  }
  if (rule.top_p < 1.0) keep_top_p(logits, rule.top_p, c);
  return draw(c, rule.uniform);
}

}  // namespace

void next_tokens(View logits, std::span<const TokenRule> rules, std::span<int32_t> ids,
                 const Exec& exec) {
  require_dtype("next_tokens", "logits", logits, DType::f32);
  require(std::ssize(rules) == logits.rows && std::ssize(ids) == logits.rows && logits.cols > 0,
          "next_tokens: {} rules and {} ids for logits [{}, {}]", rules.size(), ids.size(),
          logits.rows, logits.cols);
  for (const TokenRule& rule : rules)
    for (const auto& list : {rule.penalised, rule.forbidden})
      for (const int32_t id : list)
        require(id >= 0 && id < logits.cols, "next_tokens: id {} is outside the vocabulary of {}",
                id, logits.cols);
  if (exec.device != nullptr) {
    if (logits.rows > 0) exec.device->next_tokens(logits, rules, ids);
    return;
  }
  exec.pool.parallel_for(logits.rows, [&](int64_t r) {
    const auto i = static_cast<size_t>(r);
    ids[i] = exec.reference ? next_token_ref(logits.row<float>(r), rules[i])
                            : next_token(logits.row<float>(r), rules[i]);
  });
}

}  // namespace cria::ops
