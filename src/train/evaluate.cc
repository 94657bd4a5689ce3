#include "train/evaluate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace cria {

Evaluation evaluate(const LlamaConfig& config, const ParamArena& weights, DType compute,
                    SampleSource& source, int64_t batch_size, ops::Exec& exec,
                    const std::function<void(int64_t)>& progress) {
  check(config == weights.config(), "the weights are the model's");
  OneRank alone;
  return evaluate(weights, {}, compute, source, batch_size, alone.groups, exec, progress);
}

Evaluation evaluate(const ParamArena& weights, const PipelineSettings& settings, DType compute,
                    SampleSource& source, int64_t batch_size, Groups& groups, ops::Exec& exec,
                    const std::function<void(int64_t)>& progress) {
  require(batch_size >= 1, "eval: batch_size is {}, expected 1 or more", batch_size);
  require(source.samples_per_epoch() > 0, "eval: the data set has no samples");
  Pipeline pipeline(weights, settings, compute, Recompute::none, groups, exec);
  Evaluation result;
  result.samples = source.samples_per_epoch();
  result.batches = (result.samples + batch_size - 1) / batch_size;
  // Of every batch its loss and its trained tokens. One rank fills in each; a sum with zeros changes nothing.
  std::vector<double> sums(static_cast<size_t>(2 * result.batches));
  std::vector<Samples> batch(1);
  const bool speaks = groups.grid.tp_index() == 0;
  const int64_t rounds = (result.batches + groups.grid.dp - 1) / groups.grid.dp;
  for (int64_t round = 0; round < rounds; ++round) {
    int64_t b = round * groups.grid.dp + groups.grid.dp_index();
    const bool counts = b < result.batches;
    if (!counts && !pipeline.together()) break;
    if (!counts) b = 0;  // once more, for those that need this rank's weights
    const int64_t at = b * batch_size;
    const int64_t count = std::min(batch_size, result.samples - at);
    source.fill(0, at, count, batch[0]);
    pipeline.evaluate(batch, [&](int64_t, std::span<const float> token_loss) {
      if (!speaks || !counts) return;
      double& sum = sums[static_cast<size_t>(2 * b)];
      for (const float l : token_loss) sum += l;
      sums[static_cast<size_t>(2 * b + 1)] = static_cast<double>(batch[0].trained());
    });
    if (progress) progress(at + count);
  }
  groups.world.all_reduce(std::span(sums));
  double means = 0, total = 0, tokens = 0;
  for (size_t b = 0; b < sums.size(); b += 2) {
    means += sums[b] / (sums[b + 1] + 1e-8);
    total += sums[b];
    tokens += sums[b + 1];
  }
  result.tokens = static_cast<int64_t>(tokens);
  result.recipe_loss = means / static_cast<double>(result.batches);
  result.loss = total / std::max(1.0, tokens);
  result.recipe_perplexity = std::exp(result.recipe_loss);
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace cria
