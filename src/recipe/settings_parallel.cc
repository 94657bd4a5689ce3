// parallel, parallel_config and what goes with them: how a run is divided over devices.
#include <algorithm>

#include "base/error.h"
#include "recipe/settings.h"

namespace cria::recipe {
namespace {

constexpr int64_t kMostDevices = 1 << 16;

void read_offset(const Values& v, ParallelSettings& p) {
  const YamlNode* offset = v.node("model.model_config.offset");
  if (offset == nullptr) return;
  if (offset->kind != YamlNode::Kind::list) {
    p.offset = v.integer("model.model_config.offset", -1024, 1024).value_or(0);
    return;
  }
  for (const YamlNode& n : offset->items) {
    require(n.kind == YamlNode::Kind::integer && n.integer >= -1024 && n.integer <= 1024,
            "config: model.model_config.offset: {} in the list, expected whole numbers",
            escaped(n.text));
    p.offsets.push_back(n.integer);
  }
}

bool pure_data_parallel(const Values& v) {
  const std::string mode = v.text("parallel.parallel_mode").value_or("1");
  return mode == "0" || mode == "DATA_PARALLEL";
}

}  // namespace

void read_parallel_settings(const YamlNode& root, int ranks, RecipeSettings& s) {
  const Values v(root);
  ParallelSettings& p = s.parallel;
  const bool wanted = v.boolean("use_parallel").value_or(false);
  p.dp = v.integer("parallel_config.data_parallel", 1, kMostDevices).value_or(1);
  p.tp = v.integer("parallel_config.model_parallel", 1, kMostDevices).value_or(1);
  p.pp = v.integer("parallel_config.pipeline_stage", 1, kMostDevices).value_or(1);
  p.only_save_strategy = v.boolean("only_save_strategy").value_or(false);
  require(!p.only_save_strategy || (wanted && ranks > 1),
          "config: only_save_strategy is True, but one device has no strategy to save");
  if (!wanted) {
    require(ranks == 1,
            "config: {} ranks were started, but use_parallel is False; try: --use_parallel True",
            ranks);
    p.dp = p.tp = p.pp = 1;
    return;
  }
  if (pure_data_parallel(v)) {
    p.dp = ranks;
    p.tp = p.pp = 1;
  }
  const int64_t devices = p.dp * p.tp * p.pp;
  require(devices == ranks,
          "config: data_parallel {} x model_parallel {} x pipeline_stage {} needs {} ranks, and {} "
          "{} started; try: {}",
          p.dp, p.tp, p.pp, devices, ranks, ranks == 1 ? "was" : "were",
          ranks == 1
              ? fmt::format("--use_parallel False, or msrun_launcher.sh with {} workers", devices)
              : "flags --dp, --mp and --pp whose product is that number");
  p.sequence = v.boolean("parallel_config.use_seq_parallel").value_or(false);
  // The recipe splits the vocabulary wherever there are stages.
  const bool whole_tables = v.boolean("parallel_config.vocab_emb_dp").value_or(true) && p.pp == 1;
  p.vocab_split = !whole_tables;
  p.micro_batches = v.integer("parallel_config.micro_batch_num", 1, 1 << 20).value_or(1);
  p.runs_per_stage = v.integer("parallel_config.pp_interleave_num", 1, 1024).value_or(1);
  p.balance_by_cost = v.text("parallel_config.stage_balance").value_or("layers") == "cost";
  read_offset(v, p);
  if (p.pp > 1) {
    // Prompts are no micro batches.
    require(p.micro_batches >= p.pp || v.text("run_mode") == "predict",
            "config: parallel_config.micro_batch_num is {}, expected at least pipeline_stage = {}",
            p.micro_batches, p.pp);
    if (s.accumulation != 1)
      s.notes.push_back(
          "gradient_accumulation_steps: micro_batch_num takes its place in a pipeline");
    s.accumulation = 1;
  } else {
    p.micro_batches = 1;
  }
  p.optimizer_shard = v.boolean("parallel.enable_parallel_optimizer").value_or(false);
  p.shard_threshold =
      v.integer("parallel.parallel_optimizer_config.parallel_optimizer_threshold", 0, 1 << 30)
          .value_or(64)
      << 10;
  if (v.boolean("parallel.parallel_optimizer_config.gradient_accumulation_shard").value_or(false))
    p.zero = 2;
  if (v.boolean("recompute_config.parallel_optimizer_comm_recompute").value_or(false)) p.zero = 3;
  p.gradient_buckets =
      v.integer("parallel_config.gradient_aggregation_group", 1, 1 << 20).value_or(0);
  const int64_t shard_size =
      v.integer("parallel.parallel_optimizer_config.optimizer_weight_shard_size", -1, kMostDevices)
          .value_or(-1);
  // One rank alone, or state that is not cut, has no groups.
  if (!p.optimizer_shard || p.dp == 1 || shard_size == -1) return;
  require(shard_size >= 1 && p.dp % shard_size == 0,
          "config: parallel.parallel_optimizer_config.optimizer_weight_shard_size is {}, expected "
          "-1 or a divisor of data_parallel = {}",
          shard_size, p.dp);
  p.shard_size = shard_size;
}

StageRuns stage_runs(const ParallelSettings& p, const LlamaConfig& config, int64_t seq_length) {
  const auto stages = static_cast<int>(p.pp);
  if (stages == 1) return {};
  if (p.runs_per_stage > 1)
    return split_interleaved(config.num_hidden_layers, stages, static_cast<int>(p.runs_per_stage));
  if (p.balance_by_cost)
    return split_by_cost(config.num_hidden_layers, stages, head_cost_in_layers(config, seq_length));
  if (!p.offsets.empty()) return split_by_offsets(config.num_hidden_layers, stages, p.offsets);
  return split_by_offset(config.num_hidden_layers, stages, p.offset);
}

PipelineSettings pipeline_settings(const ParallelSettings& p, const LlamaConfig& config,
                                   int64_t seq_length) {
  return {.runs = stage_runs(p, config, seq_length),
          .sequence_parallel = p.sequence,
          .vocab_split = p.vocab_split && config.vocab_size % p.tp == 0};
}

}  // namespace cria::recipe
