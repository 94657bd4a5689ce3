#include "train/evaluate.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace cria {

Evaluation evaluate(const LlamaConfig& config, const ParamArena& weights, DType compute,
                    SampleSource& source, int64_t batch_size, ops::Exec& exec,
                    const std::function<void(int64_t)>& progress) {
  require(batch_size >= 1, "eval: batch_size is {}, expected 1 or more", batch_size);
  Trainee trainee(config, weights, compute, Recompute::none, exec);
  Evaluation result;
  Samples samples;
  std::vector<float> token_loss;
  double means = 0, total = 0;
  for (int64_t at = 0; at < source.samples_per_epoch(); at += batch_size) {
    const int64_t count = std::min(batch_size, source.samples_per_epoch() - at);
    source.fill(0, at, count, samples);
    token_loss.resize(static_cast<size_t>(samples.tokens()));
    trainee.forward(samples.batch(), token_loss);
    double sum = 0;
    for (const float l : token_loss) sum += l;
    const int64_t trained = samples.trained();
    means += sum / (static_cast<double>(trained) + 1e-8);
    total += sum;
    result.tokens += trained;
    result.samples += count;
    ++result.batches;
    if (progress) progress(result.samples);
  }
  require(result.batches > 0, "eval: the data set has no samples");
  result.recipe_loss = means / static_cast<double>(result.batches);
  result.loss = total / static_cast<double>(std::max<int64_t>(1, result.tokens));
  result.recipe_perplexity = std::exp(result.recipe_loss);
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace cria
