// Choosing tokens where the logits are. A row is cut into parts with a block each; a pass leaves a few numbers for each part, and
// the next one's blocks begin by adding them up, so the host waits once, for the tokens. Probabilities are whole numbers,
// exp(logit - highest) * 2^40, whose sums do not depend on their order.
//
// The k-th highest logit, and the one down to which probabilities reach p, are searched alike: four bits of a number's place in the
// order of floats at a time, from the upper ones on.
#include <algorithm>
#include <vector>

#include "ops/cuda/launch.h"
#include "ops/cuda/launchers.h"
#include "ops/cuda/reduce.h"

namespace cria::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
// Of a row: as many as its length is worth.
constexpr int64_t kMostParts = 32, kLeastPart = 1024;
constexpr int kDigits = 16;
constexpr int kPasses = 8;  // of four bits each
constexpr float kRemoved = -INFINITY;

/// A rule as kernels take it; ids are ranges of one list.
struct Rule {
  int32_t first_penalised, penalised, first_forbidden, forbidden;
  float penalty;
  bool sample;
  double temperature;
  int64_t top_k;  // 0: all
  double top_p, uniform;
};

/// The highest logit of a part.
struct Best {
  float value;
  int32_t id;
  bool numbers;  // no NaN among them
};

/// What is known of a row.
struct Found {
  float highest;    // after the temperature; not finite: the token is chosen already
  uint32_t floor;   // top_k: keys below it are out
  uint32_t least;   // and top_p: keys below it are out,
  int64_t skipped;  // and so many of the first tokens whose key it is
};

/// How far a search has come: keys begin with `prefix`, those above weigh `above`, and `target` is to be reached.
struct Reached {
  uint32_t prefix;
  uint64_t above, target;
};

/// Everything that passes leave, for each row.
struct Board {
  int parts;  // of each row
  float* logits;
  int64_t stride, vocab;
  const Rule* rules;
  const int32_t* ids;
  Best* best;         // [row, part]
  Found* found;       // [row]
  Reached* reached;   // [row, pass]
  uint64_t* sums;     // [row, pass, part, digit]
  uint64_t* weights;  // [row, part]: of what lies above `least`
  int64_t* ties;      // [row, part]: tokens at `least`
  int32_t* tokens;    // [row]
};
enum class Search { top_k, top_p };

__device__ inline bool finite(float x) { return x - x == 0; }

/// Keys have the order of their floats.
__device__ inline uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(x == 0 ? 0.0f : x);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ inline float value_of(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}
__device__ inline uint64_t weight_of(float x, float highest) {
  constexpr double one = 1099511627776.0;  // 2^40
  return static_cast<uint64_t>(exp(static_cast<double>(x) - static_cast<double>(highest)) * one +
                               0.5);
}

/// The ids of a part: [first, end).
struct Part {
  int64_t first, end;
};
__device__ inline Part part_of(const Board& b, int part) {
  const int64_t each = (b.vocab + b.parts - 1) / b.parts;
  const int64_t first = part * each, end = first + each;
  return {first < b.vocab ? first : b.vocab, end < b.vocab ? end : b.vocab};
}

/// Whether a row is still to be searched.
__device__ inline bool drawn(const Board& b, int64_t row) {
  return b.rules[row].sample && b.tokens[row] == ops::kNoToken && finite(b.found[row].highest);
}

// A block for each row.
__global__ void __launch_bounds__(kThreads) change(Board b) {
  const Rule rule = b.rules[blockIdx.x];
  float* const x = b.logits + blockIdx.x * b.stride;
  for (int i = static_cast<int>(threadIdx.x); i < rule.penalised; i += kThreads) {
    float& logit = x[b.ids[rule.first_penalised + i]];
    logit = logit < 0 ? logit * rule.penalty : logit / rule.penalty;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < rule.forbidden; i += kThreads)
    x[b.ids[rule.first_forbidden + i]] = kRemoved;
}

__device__ inline Best better(Best a, Best b) {
  const bool first = a.value > b.value || (a.value == b.value && a.id < b.id);
  return {first ? a.value : b.value, first ? a.id : b.id, a.numbers && b.numbers};
}

// A block for each part of each row: its highest logit; logits are divided by the temperature.
__global__ void __launch_bounds__(kThreads) look(Board b) {
  const int part = static_cast<int>(blockIdx.x);
  const int64_t row = blockIdx.y;
  const Rule rule = b.rules[row];
  float* const x = b.logits + row * b.stride;
  const Part range = part_of(b, part);
  const int thread = static_cast<int>(threadIdx.x);
  Best best = {kRemoved, 0x7fffffff, true};
  for (int64_t i = range.first + thread; i < range.end; i += kThreads) {
    const float logit = x[i];
    best = better(best, {logit, static_cast<int32_t>(i), logit == logit});
    if (rule.sample) x[i] = static_cast<float>(static_cast<double>(logit) / rule.temperature);
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    best = better(best, {__shfl_xor_sync(kAllLanes, best.value, step),
                         __shfl_xor_sync(kAllLanes, best.id, step),
                         __shfl_xor_sync(kAllLanes, static_cast<int>(best.numbers), step) != 0});
  }
  const auto space = shared_array<Best>(0, kWarps);
  if (thread % kWarp == 0) space[thread / kWarp] = best;
  __syncthreads();
  if (thread != 0) return;
  for (int w = 1; w < kWarps; ++w) best = better(best, space[w]);
  b.best[row * b.parts + part] = best;
}

// A thread for each row: the highest of all parts, which is the token unless one is to be drawn.
__global__ void __launch_bounds__(kThreads) settle_best(Board b, int64_t rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= rows) return;
  Best best = b.best[row * b.parts];
  for (int part = 1; part < b.parts; ++part) best = better(best, b.best[row * b.parts + part]);
  const Rule& rule = b.rules[row];
  const float scaled = rule.sample
                           ? static_cast<float>(static_cast<double>(best.value) / rule.temperature)
                           : best.value;
  const bool good = best.numbers && finite(best.value);
  const bool draw = good && rule.sample && finite(scaled);
  b.found[row] = {good ? scaled : INFINITY, key_of(kRemoved), key_of(kRemoved), 0};
  b.tokens[row] = good && !draw ? best.id : ops::kNoToken;
}

__device__ inline bool searched(const Board& b, int64_t row, Search what) {
  const Rule& rule = b.rules[row];
  return drawn(b, row) && (what == Search::top_k ? rule.top_k > 0 : rule.top_p < 1.0);
}

/// Where a search stands before pass `pass`: the whole block gets it. `space`: kDigits numbers, `result`: one.
__device__ inline Reached advanced(const Board& b, int64_t row, Search what, int pass,
                                   SharedArray<uint64_t> space, SharedArray<Reached> result) {
  const int thread = static_cast<int>(threadIdx.x);
  if (pass == 0)
    return {0, 0, what == Search::top_k ? static_cast<uint64_t>(b.rules[row].top_k) : 0};
  if (thread < kDigits) {
    const uint64_t* const sums = b.sums + (row * kPasses + pass - 1) * b.parts * kDigits + thread;
    uint64_t sum = 0;
    for (int part = 0; part < b.parts; ++part) sum += sums[part * kDigits];
    space[thread] = sum;
  }
  __syncthreads();
  if (thread == 0) {
    Reached r = b.reached[row * kPasses + pass - 1];
    if (pass == 1 && what == Search::top_p) {
      uint64_t total = 0;
      for (int d = 0; d < kDigits; ++d) total += static_cast<uint64_t>(space[d]);
      const auto target =
          static_cast<uint64_t>(ceil(b.rules[row].top_p * static_cast<double>(total)));
      r.target = target < 1 ? 1 : target < total ? target : total;
    }
    int digit = kDigits - 1;
    for (; digit > 0; --digit) {
      const uint64_t sum = space[digit];
      if (r.above + sum >= r.target) break;
      r.above += sum;
    }
    r.prefix = r.prefix << 4 | static_cast<uint32_t>(digit);
    result[0] = r;
  }
  __syncthreads();
  return result[0];
}

// A block for each part of each row: what its logits weigh, by their next four bits.
__global__ void __launch_bounds__(kThreads) narrow(Board b, Search what, int pass) {
  const int part = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.y;
  if (!searched(b, row, what)) return;
  const auto space = shared_array<uint64_t>(0, kWarps * kDigits);
  const Reached r =
      advanced(b, row, what, pass, space, shared_array<Reached>(kWarps * kDigits * 8, 1));
  if (part == 0 && thread == 0) b.reached[row * kPasses + pass] = r;
  const float* const x = b.logits + row * b.stride;
  const Found found = b.found[row];
  const Part range = part_of(b, part);
  const int shift = 32 - 4 * (pass + 1);
  uint64_t sums[kDigits] = {};
  for (int64_t i = range.first + thread; i < range.end; i += kThreads) {
    const uint32_t key = key_of(x[i]);
    // A shift by 32 would not give 0.
    if (key < found.floor || (pass > 0 && key >> shift >> 4 != r.prefix)) continue;
    const uint64_t weight = what == Search::top_k ? 1 : weight_of(x[i], found.highest);
    const uint32_t digit = key >> shift & (kDigits - 1);
#pragma unroll
    for (uint32_t d = 0; d < kDigits; ++d) sums[d] += digit == d ? weight : 0;
  }
  __syncthreads();  // `space` was read
#pragma unroll
  for (int d = 0; d < kDigits; ++d) {
    const uint64_t sum = warp_sum(sums[d]);
    if (thread % kWarp == 0) space[thread / kWarp * kDigits + d] = sum;
  }
  __syncthreads();
  if (thread >= kDigits) return;
  uint64_t sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += static_cast<uint64_t>(space[w * kDigits + thread]);
  b.sums[((row * kPasses + pass) * b.parts + part) * kDigits + thread] = sum;
}

// A block for each row: what a search has found.
__global__ void __launch_bounds__(kThreads) settle(Board b, Search what) {
  const int64_t row = blockIdx.x;
  if (!searched(b, row, what)) return;
  const Reached r = advanced(b, row, what, kPasses, shared_array<uint64_t>(0, kDigits),
                             shared_array<Reached>(kDigits * 8, 1));
  if (threadIdx.x != 0) return;
  Found& found = b.found[row];
  found.least = r.prefix;
  if (what == Search::top_k) {
    found.floor = r.prefix;
    return;
  }
  const uint64_t* const sums =
      b.sums + (row * kPasses + kPasses - 1) * b.parts * kDigits + r.prefix % kDigits;
  uint64_t at_least = 0;
  for (int part = 0; part < b.parts; ++part) at_least += sums[part * kDigits];
  const uint64_t each = weight_of(value_of(r.prefix), found.highest);
  const uint64_t kept = (r.target - r.above + each - 1) / each;
  found.skipped = static_cast<int64_t>(at_least / each - kept);
}

/// Calls visit(id, weight above `least`, whether it is a tie at it) for every step-th token, until that says false.
template <class Visit>
__device__ inline void for_tokens(const float* x, const Found& found, int64_t first, int64_t end,
                                  int64_t step, Visit visit) {
  for (int64_t i = first; i < end; i += step) {
    const uint32_t key = key_of(x[i]);
    if (!visit(i, key > found.least ? weight_of(x[i], found.highest) : 0, key == found.least))
      return;
  }
}

// A block for each part of each row: what is left of it.
__global__ void __launch_bounds__(kThreads) weigh(Board b) {
  const int part = static_cast<int>(blockIdx.x);
  const int64_t row = blockIdx.y;
  if (!drawn(b, row)) return;
  const auto space = shared_array<uint64_t>(0, kWarps);
  const float* const x = b.logits + row * b.stride;
  const Found found = b.found[row];
  const Part range = part_of(b, part);
  uint64_t weight = 0, ties = 0;
  for_tokens(x, found, range.first + threadIdx.x, range.end, kThreads,
             [&](int64_t, uint64_t above, bool tie) {
               weight += above;
               ties += tie ? 1 : 0;
               return true;
             });
  weight = block_sum(weight, space);
  ties = block_sum(ties, space);
  if (threadIdx.x != 0) return;
  b.weights[row * b.parts + part] = weight;
  b.ties[row * b.parts + part] = static_cast<int64_t>(ties);
}

/// A walk over runs of tokens in the order of their ids, until what was passed exceeds the target.
struct Walk {
  uint64_t each;  // weight of a tie
  int64_t skipped, ties = 0;
  uint64_t passed = 0;
  /// What a run weighs that begins here.
  [[nodiscard]] __device__ uint64_t weight(uint64_t above, int64_t count) const {
    int64_t out = skipped - ties;
    out = out < 0 ? 0 : out < count ? out : count;
    return above + static_cast<uint64_t>(count - out) * each;
  }
  __device__ void go(uint64_t above, int64_t count) {
    passed += weight(above, count);
    ties += count;
  }
};

// A block for each row: the part that the draw falls into, there the thread, and there the token.
__global__ void __launch_bounds__(kThreads) draw(Board b) {
  const int64_t row = blockIdx.x;
  if (!drawn(b, row)) return;
  const int thread = static_cast<int>(threadIdx.x);
  const auto above = shared_array<uint64_t>(0, kThreads);
  const auto ties = shared_array<int64_t>(kThreads * 8, kThreads);
  const float* const x = b.logits + row * b.stride;
  const Found found = b.found[row];
  // Every thread walks over the parts by itself.
  const uint64_t* const weights = b.weights + row * b.parts;
  const int64_t* const part_ties = b.ties + row * b.parts;
  Walk walk{weight_of(value_of(found.least), found.highest), found.skipped};
  for (int part = 0; part < b.parts; ++part) walk.go(weights[part], part_ties[part]);
  const uint64_t total = walk.passed;
  auto target = static_cast<uint64_t>(b.rules[row].uniform * static_cast<double>(total));
  if (target >= total) target = total - 1;
  walk.passed = 0, walk.ties = 0;
  int part = 0;
  for (; part < b.parts - 1; ++part) {
    if (walk.passed + walk.weight(weights[part], part_ties[part]) > target) break;
    walk.go(weights[part], part_ties[part]);
  }
  const Part range = part_of(b, part);
  const int64_t run = (range.end - range.first + kThreads - 1) / kThreads;
  const auto run_of = [&](int holder) {
    const int64_t first = range.first + holder * run, end = first + run;
    return Part{first, end < range.end ? end : range.end};
  };
  const Part mine = run_of(thread);
  uint64_t my_above = 0;
  int64_t my_ties = 0;
  for_tokens(x, found, mine.first, mine.end, 1, [&](int64_t, uint64_t weight, bool tie) {
    my_above += weight;
    my_ties += tie ? 1 : 0;
    return true;
  });
  above[thread] = my_above;
  ties[thread] = my_ties;
  __syncthreads();
  if (thread != 0) return;
  int holder = 0;
  for (; holder < kThreads - 1; ++holder) {
    if (walk.passed + walk.weight(above[holder], ties[holder]) > target) break;
    walk.go(above[holder], ties[holder]);
  }
  const Part last = run_of(holder);
  for_tokens(x, found, last.first, last.end, 1, [&](int64_t i, uint64_t weight, bool tie) {
    walk.go(weight, tie ? 1 : 0);
    b.tokens[row] = static_cast<int32_t>(i);
    return walk.passed <= target;
  });
}

}  // namespace

void next_tokens(Stream& stream, View logits, std::span<const ops::TokenRule> rules,
                 int32_t* tokens) {
  std::vector<Rule> rows;
  std::vector<int32_t> ids;
  bool changed = false, sampled = false, top_k = false, top_p = false;
  for (const ops::TokenRule& r : rules) {
    const auto at = static_cast<int32_t>(ids.size());
    ids.insert(ids.end(), r.penalised.begin(), r.penalised.end());
    ids.insert(ids.end(), r.forbidden.begin(), r.forbidden.end());
    const auto penalised = static_cast<int32_t>(r.penalised.size());
    const int64_t k = r.top_k < logits.cols ? r.top_k : 0;
    rows.push_back({at, penalised, at + penalised, static_cast<int32_t>(r.forbidden.size()),
                    static_cast<float>(r.repetition_penalty), r.sample, r.temperature, k, r.top_p,
                    r.uniform});
    changed |= !r.penalised.empty() || !r.forbidden.empty();
    sampled |= r.sample;
    top_k |= r.sample && k > 0;
    top_p |= r.sample && r.top_p < 1.0;
  }
  const int64_t count = logits.rows;
  const int64_t wanted = blocks_for(logits.cols, kLeastPart);
  const int64_t parts = wanted < kMostParts ? wanted : kMostParts;
  const Board b{static_cast<int>(parts),
                static_cast<float*>(logits.data),
                logits.stride,
                logits.cols,
                stream.upload<Rule>(rows),
                stream.upload<int32_t>(ids),
                stream.scratch<Best>(count * parts),
                stream.scratch<Found>(count),
                stream.scratch<Reached>(count * kPasses),
                stream.scratch<uint64_t>(count * kPasses * parts * kDigits),
                stream.scratch<uint64_t>(count * parts),
                stream.scratch<int64_t>(count * parts),
                tokens};
  const unsigned each_row = blocks_for(count, 1);
  const dim3 each_part(static_cast<unsigned>(parts), each_row);
  if (changed) launch(change, each_row, kThreads, 0, stream, b);
  launch(look, each_part, kThreads, kWarps * static_cast<int>(sizeof(Best)), stream, b);
  launch(settle_best, blocks_for(count, kThreads), kThreads, 0, stream, b, count);
  if (!sampled) return;
  const auto search = [&](Search what) {
    for (int pass = 0; pass < kPasses; ++pass) {
      launch(narrow, each_part, kThreads, kWarps * kDigits * 8 + static_cast<int>(sizeof(Reached)),
             stream, b, what, pass);
    }
    launch(settle, each_row, kThreads, kDigits * 8 + static_cast<int>(sizeof(Reached)), stream, b,
           what);
  };
  if (top_k) search(Search::top_k);
  if (top_p) search(Search::top_p);
  launch(weigh, each_part, kThreads, kWarps * 8, stream, b);
  launch(draw, each_row, kThreads, kThreads * 16, stream, b);
}

}  // namespace cria::cuda
