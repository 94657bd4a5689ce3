// On the processor only tokens that are still in question are looked at: after top_k a few, and of the others top_p sorts no more
// than it keeps, in growing parts. The order of every sum is the plain version's.
#include "ops/next_token.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "ops/device.h"
#include "ops/door.h"
#include "ops/next_token_ref.h"

namespace cria::ops {
namespace {

// Less likely than e^-700 times the likeliest is never: no sum of doubles changes by it.
constexpr double kLeastExponent = -700;

/// e^x for kLeastExponent - 1 < x <= 0, to a last bit or two; without a branch, so that a loop of it becomes vectors. x = n ln 2 + r with ln 2
/// in two parts, and Taylor's polynomial for |r| <= ln 2 / 2, whose remainder is below 1e-17.
inline double exp_below(double x) {
  constexpr double kLog2e = 1.4426950408889634, kLn2High = 6.93147180369123816490e-01,
                   kLn2Low = 1.90821492927058770002e-10;
  constexpr double kRound = 0x1.8p52;  // adding it leaves a whole number in the lowest bits
  const double shifted = x * kLog2e + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double p = 1.0 / 6227020800;
  p = p * r + 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 1.0 / 2;
  p = p * r + 1;
  p = p * r + 1;
  // 2^n: n stands in the lowest bits of `shifted`, and goes to where the exponent is.
  return p * std::bit_cast<double>((std::bit_cast<uint64_t>(shifted) + 1023) << 52);
}

/// What a draw needs; kept by each thread, so that tokens allocate nothing.
struct Candidates {
  size_t count = 0;             // the first of each list
  std::vector<int32_t> ids;     // still in question, ascending
  std::vector<float> logits;    // of each
  std::vector<double> weights;  // exp(logit - highest) of each
  std::vector<float> highest;   // a heap
  std::vector<int32_t> order;   // places in ids, the likeliest first
  [[nodiscard]] double total() const {
    return std::accumulate(weights.data(), weights.data() + count, 0.0);
  }
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

/// Those whose logits are `least` or more, and what stands against them to the draw.
void collect(std::span<const float> logits, float least, Candidates& c) {
  const size_t count = logits.size();
  c.ids.resize(std::max(c.ids.size(), count));
  c.logits.resize(c.ids.size());
  size_t kept = 0;
  for (size_t id = 0; id < count; ++id) {  // written in any case: a branch would be guessed wrong
    c.ids[kept] = static_cast<int32_t>(id);
    c.logits[kept] = logits[id];
    kept += logits[id] >= least ? 1 : 0;
  }
  c.count = kept;
}

void weigh(double highest, Candidates& c) {
  c.weights.resize(c.ids.size());
  const float* const x = c.logits.data();
  double* const w = c.weights.data();
#pragma omp simd
  for (size_t i = 0; i < c.count; ++i) w[i] = exp_below(static_cast<double>(x[i]) - highest);
}

/// Leaves the likeliest candidates, whose probabilities reach p, in the order of their ids.
void keep_top_p(double p, Candidates& c) {
  const double total = c.total();
  c.order.resize(c.count);
  std::iota(c.order.begin(), c.order.end(), 0);
  const auto more_likely = [&](int32_t a, int32_t b) {
    const float x = c.logits[static_cast<size_t>(a)], y = c.logits[static_cast<size_t>(b)];
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
  c.count = kept;
}

/// Uses up the weights.
int32_t draw(Candidates& c, double uniform) {
  const double total = c.total();
  double* const probability = c.weights.data();
#pragma omp simd
  for (size_t i = 0; i < c.count; ++i) probability[i] /= total;
  double cumulated = 0;
  size_t at = 0;
  while (at < c.count && !(uniform < (cumulated += probability[at]))) ++at;
  return c.ids[std::min(at, c.count - 1)];
}

int32_t next_token(std::span<float> logits, const TokenRule& rule) {
  constexpr float removed = -std::numeric_limits<float>::infinity();
  apply_repetition_penalty(logits, rule.penalised, rule.repetition_penalty);
  for (const int32_t id : rule.forbidden) logits[static_cast<size_t>(id)] = removed;
  int nans = 0;
#pragma omp simd reduction(+ : nans)
  for (size_t i = 0; i < logits.size(); ++i) nans += logits[i] != logits[i] ? 1 : 0;
  const float most = highest_of(logits);
  if (nans > 0 || !std::isfinite(most)) return kNoToken;
  const auto highest = static_cast<double>(static_cast<float>(most / rule.temperature));
  if (!rule.sample || !std::isfinite(highest))
    return static_cast<int32_t>(std::find(logits.begin(), logits.end(), most) - logits.begin());
  apply_temperature(logits, rule.temperature);
  thread_local Candidates c;
  const bool limited = rule.top_k > 0 && rule.top_k < std::ssize(logits);
  const float least = limited ? kth_highest(logits, rule.top_k, c.highest) : removed;
  collect(logits, std::max(least, static_cast<float>(highest + kLeastExponent)), c);
  weigh(highest, c);
  if (rule.top_p < 1.0) keep_top_p(rule.top_p, c);
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
