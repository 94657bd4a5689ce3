#include "train/pipeline_schedule.h"

#include <algorithm>

#include "base/error.h"

namespace cria {
namespace {

/// Step number n of all forwards (or backwards) of a stage: micro batches in groups of `stages`, each group through one chunk
/// after the other.
PipelineStep nth(int64_t n, bool backward, int stages, int chunks) {
  const int64_t group = int64_t{stages} * chunks;
  const auto chunk = static_cast<int>(n % group / stages);
  return {backward, backward ? chunks - 1 - chunk : chunk, n / group * stages + n % stages};
}

std::vector<PipelineStep> one_forward_one_backward(int stages, int chunks, int64_t micros,
                                                   int64_t warm_up) {
  const int64_t all = micros * chunks;
  std::vector<PipelineStep> steps;
  int64_t forward = 0, backward = 0;
  while (forward < std::min(warm_up, all)) steps.push_back(nth(forward++, false, stages, chunks));
  while (forward < all) {
    steps.push_back(nth(forward++, false, stages, chunks));
    steps.push_back(nth(backward++, true, stages, chunks));
  }
  while (backward < all) steps.push_back(nth(backward++, true, stages, chunks));
  return steps;
}

}  // namespace

std::vector<PipelineStep> schedule_1f1b(int stages, int stage, int64_t micros) {
  // With one chunk the groups of nth() do not matter: order is that of the micro batches.
  return one_forward_one_backward(1, 1, micros, stages - stage - 1);
}

std::vector<PipelineStep> schedule_interleaved(int stages, int stage, int chunks, int64_t micros) {
  if (chunks == 1) return schedule_1f1b(stages, stage, micros);
  require(
      micros % stages == 0,
      "pipeline: an interleaved schedule needs micro_batch_num to divide by {} stages, found {}",
      stages, micros);
  const int64_t warm_up = 2 * int64_t{stages - stage - 1} + int64_t{chunks - 1} * stages;
  return one_forward_one_backward(stages, chunks, micros, warm_up);
}

}  // namespace cria
