// What a run does, once its settings are complete. Each returns the program's exit code.
#pragma once

#include "comm/groups.h"
#include "recipe/log.h"
#include "recipe/settings.h"

namespace cria::recipe {

/// Every rank of the run calls it.
int run_train(const RecipeSettings& settings, Transport& transport, RecipeLog& log);
int run_eval(const RecipeSettings& settings, Transport& transport, RecipeLog& log);
/// Prompts are dealt out to the data-parallel ranks; rank 0 writes what all of them answered. `repeat_result`: run_llama3 prints
/// the result list once more at the end.
int run_predict(const RecipeSettings& settings, Transport& transport, RecipeLog& log,
                bool repeat_result);

/// Steps, warm-up and the schedule's length from the settings and the data. Global batch: batch_size x data_parallel x interleave x
/// (accumulation, or micro_batch_num in a pipeline).
struct StepPlan {
  int64_t global_batch = 1, steps_per_epoch = 0;
  int64_t sink_size = 1;  // 1 without sinks
  int64_t sink_epochs = 0;
  int64_t total_steps = 0;
  Schedule schedule;
};
/// Throws UsageError when the samples do not fill one batch, or one sink.
StepPlan plan_steps(const RecipeSettings& settings, int64_t samples);

}  // namespace cria::recipe
