#include "train/layer_split.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace cria {
namespace {

/// Runs one after the other with so many layers each; number r goes to stage r % stages.
StageRuns runs_of(std::span<const int64_t> counts, int stages) {
  StageRuns runs(static_cast<size_t>(stages));
  int64_t first = 0;
  for (size_t r = 0; r < counts.size(); ++r) {
    require(counts[r] >= 1, "pipeline: stage {} of {} would have no layer; try: fewer stages",
            r % static_cast<size_t>(stages), stages);
    runs[r % static_cast<size_t>(stages)].push_back(
        {.first = first, .count = counts[r], .embedding = r == 0, .head = r + 1 == counts.size()});
    first += counts[r];
  }
  return runs;
}

}  // namespace

StageRuns split_by_offset(int64_t layers, int stages, int64_t offset) {
  std::vector<int64_t> counts(static_cast<size_t>(stages), 0);
  const int64_t per = std::max<int64_t>((layers + 1) / stages, 1);
  for (int64_t l = 0; l < layers; ++l)
    ++counts[static_cast<size_t>(std::clamp<int64_t>((l + offset) / per, 0, stages - 1))];
  return runs_of(counts, stages);
}

StageRuns split_by_offsets(int64_t layers, int stages, std::span<const int64_t> offsets) {
  require(std::ssize(offsets) == stages,
          "pipeline: offset has {} numbers for {} stages, expected one each", offsets.size(),
          stages);
  std::vector<int64_t> counts;
  for (const int64_t offset : offsets) counts.push_back(layers / stages + offset);
  const int64_t sum = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  require(sum == layers, "pipeline: offset [{}] gives the stages {} layers together, expected {}",
          fmt::join(offsets, ", "), sum, layers);
  return runs_of(counts, stages);
}

StageRuns split_by_cost(int64_t layers, int stages, double head_cost) {
  require(layers >= stages, "pipeline: {} layers for {} stages; try: fewer stages", layers, stages);
  // The last stage's layers are tried from few to many; the others share the rest evenly.
  int64_t best_last = 1;
  double best = std::numeric_limits<double>::infinity();
  const int64_t others = stages - 1;
  for (int64_t last = 1; last <= layers - others; ++last) {
    const int64_t rest = layers - last;
    const auto longest = static_cast<double>(others > 0 ? (rest + others - 1) / others : 0);
    const double cost = std::max(longest, static_cast<double>(last) + head_cost);
    if (cost <= best) {  // of equal ones the evenest
      best = cost;
      best_last = last;
    }
  }
  std::vector<int64_t> counts;
  for (int64_t s = 0; s < others; ++s) {
    const int64_t rest = layers - best_last;
    counts.push_back(rest * (s + 1) / others - rest * s / others);
  }
  counts.push_back(stages == 1 ? layers : best_last);
  return runs_of(counts, stages);
}

StageRuns split_interleaved(int64_t layers, int stages, int chunks) {
  const int64_t runs = int64_t{stages} * chunks;
  require(layers % runs == 0 && layers >= runs,
          "pipeline: {} layers do not divide into {} stages of {} runs each; try: another "
          "interleave number",
          layers, stages, chunks);
  const std::vector<int64_t> counts(static_cast<size_t>(runs), layers / runs);
  return runs_of(counts, stages);
}

double head_cost_in_layers(const LlamaConfig& c, int64_t seq_len) {
  const double q = static_cast<double>(c.num_attention_heads * c.head_dim);
  const double kv = static_cast<double>(c.num_key_value_heads * c.head_dim);
  const auto hidden = static_cast<double>(c.hidden_size);
  const double layer = hidden * (2 * q + 2 * kv + 3 * static_cast<double>(c.intermediate_size)) +
                       q * static_cast<double>(seq_len);
  return hidden * static_cast<double>(c.vocab_size) / layer;
}

}  // namespace cria
