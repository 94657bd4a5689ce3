// What a run will take, from the recipe's settings.
#include <algorithm>

#include "base/cpu.h"
#include "recipe/model_setup.h"
#include "recipe/own_layout.h"

namespace cria::recipe {
namespace {

// One layer's activations per token: input, normed, q k v, attended, middle, gate and up, product.
int64_t layer_elements(const LlamaConfig& c) {
  const int64_t heads = 2 * (c.num_attention_heads + c.num_key_value_heads);
  return 2 * c.hidden_size + heads * c.head_dim + 2 * c.intermediate_size;
}

std::vector<MemoryItem> inference_memory(const LlamaConfig& whole, const RecipeSettings& s,
                                         const ModelPart& part, const WeightForm& form,
                                         int64_t sequences) {
  const LlamaConfig c = local_config(whole, part);
  const int64_t keys = 2 * c.num_key_value_heads * c.head_dim * c.num_hidden_layers;
  return {{"weights", weight_bytes(whole, part, form)},
          {"keys and values", bytes_of(s.model.compute, keys * sequences * s.model.seq_length)},
          {"activations", bytes_of(s.model.compute, 3 * layer_elements(c) * s.model.seq_length)}};
}

}  // namespace

TrainingRun training_run(const RecipeSettings& s, const LlamaConfig& config) {
  TrainingRun run;
  run.config = config;
  run.storage = s.model.param;
  run.compute = s.model.compute;
  run.master_weights = s.optimizer.master_weights;
  run.seq_length = s.model.seq_length;
  run.batch_size = s.batch_size;
  run.micro_batches = s.accumulation * s.interleave * s.parallel.micro_batches;
  run.grid = grid_at(s.parallel, 0);
  run.split = [parallel = s.parallel, config, seq_length = s.model.seq_length](int stages) {
    ParallelSettings p = parallel;
    // The configuration's offsets are for its own number of stages.
    if (p.pp != stages) {
      p.balance_by_cost = true;
      p.runs_per_stage = 1;
    }
    p.pp = stages;
    return pipeline_settings(p, config, seq_length).runs;
  };
  run.sequence_parallel = s.parallel.sequence;
  run.vocab_split = s.parallel.vocab_split;
  run.stages_split_vocab = true;
  run.optimizer_shard = s.parallel.optimizer_shard;
  run.zero = s.parallel.zero;
  run.shard_threshold_bytes = s.parallel.shard_threshold;
  run.recompute = [s, layers = config.num_hidden_layers](const StageRuns& runs) {
    return recompute_policy(s, runs, layers);
  };
  run.threads = s.threads > 0 ? static_cast<int>(s.threads)
                              : std::max(1, available_cores() / ranks_on_this_host());
  run.evaluates = s.do_eval;
  return run;
}

std::string check_inference_memory(const LlamaConfig& config, const RecipeSettings& settings,
                                   const ModelPart& part, const WeightForm& form, int64_t sequences,
                                   int64_t available) {
  return check_memory(inference_memory(config, settings, part, form, sequences), available,
                      [] { return std::string("a smaller batch_size or seq_length"); });
}

}  // namespace cria::recipe
