// The recipe's keys, line by line of its documentation: all are known, and what has no effect here is said.
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "recipe/keys.h"
#include "recipe/settings.h"

namespace cria::recipe {
namespace {

// Every key of the recipe's finetune and predict files and of its model class, with the recipe's values, on one device.
constexpr const char* kEveryKey = R"(
seed: 0
output_dir: './output'
load_checkpoint: ''
src_strategy_path_or_dir: ''
auto_trans_ckpt: False
only_save_strategy: False
resume_training: False
run_mode: 'train'
trainer: {type: CausalLanguageModelingTrainer, model_name: 'llama3_8b'}
runner_config: {epochs: 2, batch_size: 1, sink_mode: True, sink_size: 2, gradient_accumulation_steps: 1}
optimizer: {type: FP32StateAdamWeightDecay, beta1: 0.9, beta2: 0.95, eps: 1.e-8, learning_rate: 5.e-5, weight_decay: 0.0}
lr_schedule: {type: CosineWithWarmUpLR, learning_rate: 1.e-5, lr_end: 0.0, warmup_ratio: 0.03, total_steps: -1,
  warmup_steps: 2, warmup_epochs: 0, warmup_lr_init: 0.0, decay_steps: 100, num_cycles: 0.5}
train_dataset: &train_dataset
  data_loader: {type: MindDataset, dataset_dir: "", dataset_files: [], shuffle: True, num_samples: 10}
  input_columns: ["input_ids", "labels"]
  num_parallel_workers: 8
  python_multiprocessing: False
  drop_remainder: True
  batch_size: 6
  repeat: 1
  numa_enable: False
  prefetch_size: 1
  eod_reset: False
  eod_token_id: 128001
train_dataset_task: {type: CausalLanguageModelDataset, dataset_config: *train_dataset}
do_eval: False
eval_step_interval: 100
eval_epoch_interval: -1
eval_dataset: &eval_dataset
  data_loader: {type: MindDataset, dataset_dir: "", shuffle: False}
  input_columns: ["input_ids"]
  num_parallel_workers: 8
  python_multiprocessing: False
  drop_remainder: False
  repeat: 1
  numa_enable: False
  prefetch_size: 1
eval_dataset_task: {type: CausalLanguageModelDataset, dataset_config: *eval_dataset}
use_parallel: False
parallel:
  parallel_mode: 1
  gradients_mean: False
  enable_alltoall: False
  full_batch: True
  dataset_strategy: full_batch
  search_mode: "sharding_propagation"
  enable_parallel_optimizer: True
  strategy_ckpt_save_file: "./ckpt_strategy.ckpt"
  strategy_ckpt_config: {only_trainable_params: True}
  parallel_optimizer_config: {gradient_accumulation_shard: False, parallel_optimizer_threshold: 64, optimizer_weight_shard_size: -1}
parallel_config: {data_parallel: 1, model_parallel: 1, pipeline_stage: 1, use_seq_parallel: False, micro_batch_num: 1,
  vocab_emb_dp: True, gradient_aggregation_group: 4, expert_parallel: 1, mem_coeff: 0.1, optimizer_shard: True}
micro_batch_interleave_num: 1
moe_config: {expert_num: 1}
recompute_config: {recompute: True, select_recompute: False, select_comm_recompute: False,
  parallel_optimizer_comm_recompute: False, mp_comm_recompute: True, recompute_slice_activation: True}
callbacks:
  - {type: MFLossMonitor, per_print_times: 1}
  - {type: CheckpointMointor, prefix: "llama3_8b", save_checkpoint_steps: 10000, integrated_save: False, async_save: False,
     directory: "", save_checkpoint_seconds: 0, keep_checkpoint_max: 5, keep_checkpoint_per_n_minutes: 0,
     save_network_params: True, save_trainable_params: False, exception_save: False}
  - {type: ObsMonitor}
eval_callbacks: [{type: ObsMonitor}]
context: {mode: 0, device_target: "Ascend", device_id: 0, max_device_memory: "58GB", enable_graph_kernel: False,
  graph_kernel_flags: "--x", max_call_depth: 10000, save_graphs: False, save_graphs_path: "./graph", runtime_num_threads: 1,
  jit_config: {jit_level: "O1"}, mempool_block_size: "1GB"}
model:
  arch: {type: LlamaForCausalLM}
  model_config: {type: LlamaConfig, batch_size: 1, seq_length: 8192, hidden_size: 4096, num_layers: 32, num_heads: 32,
    n_kv_heads: 8, max_position_embedding: 8192, intermediate_size: 14336, vocab_size: 128256, multiple_of: 256,
    ffn_dim_multiplier: 1.3, rms_norm_eps: 1.0e-5, bos_token_id: 128000, eos_token_id: 128001, pad_token_id: 128002,
    ignore_token_id: -100, theta: 500000, compute_dtype: "bfloat16", layernorm_compute_type: "float32",
    softmax_compute_type: "float32", rotary_dtype: "float32", param_init_type: "float16", embedding_init_type: "bfloat16",
    qkv_has_bias: False, qkv_concat: False, use_past: False, is_dynamic: True, use_rope_slice: False, scaling_factor: 1.0,
    extend_method: "None", use_flash_attention: True, fine_grain_interleave: 1, offset: 0, checkpoint_name_or_path: "",
    repetition_penalty: 1, max_decode_length: 512, block_size: 16, num_blocks: 512, top_k: 3, top_p: 1, do_sample: False,
    temperature: 1.0, max_length: 512, max_new_tokens: 10, min_length: 0, min_new_tokens: 0, num_beams: 1,
    renormalize_logits: False}
processor:
  return_tensors: ms
  type: LlamaProcessor
  tokenizer: {type: Llama3Tokenizer, model_max_length: 8192, vocab_file: "/path/tokenizer.model",
    pad_token: "<|reserved_special_token_0|>", add_bos_token: False, add_eos_token: False, bos_token: "<|begin_of_text|>",
    eos_token: "<|end_of_text|>", errors: "replace", num_reserved_special_tokens: 256, padding_side: "right"}
metric: {type: PerplexityMetric}
runner_wrapper: {type: MFTrainOneStepCell, scale_sense: 1.0, use_clip_grad: True, max_grad_norm: 1.0}
auto_tune: False
filepath_prefix: './autotune'
autotune_per_step: 10
profile: False
profile_start_step: 4
profile_stop_step: 8
init_start_profile: False
profile_communication: False
profile_memory: True
layer_scale: False
layer_decay: 0.65
lr_scale: False
lr_scale_factor: 256
remote_save_url: "a place in a cloud"
top_k: 3
save_file: "result.txt"
input_data: "I love Beijing,because"
)";

TEST(KeyTable, knowsEveryKeyOfTheRecipe) {
  const YamlNode root = parse_yaml(kEveryKey, "every.yaml");
  std::vector<std::string> ignored;
  ASSERT_NO_THROW(ignored = check_keys(root, "every.yaml"));
  EXPECT_NO_THROW(read_settings(root));
  const std::set<std::string> names(ignored.begin(), ignored.end());
  EXPECT_EQ(names.size(), ignored.size()) << "each is named once";
  for (const char* name :
       {"train_dataset.num_parallel_workers", "parallel.gradients_mean", "context.max_call_depth",
        "eval_callbacks", "auto_tune", "layer_decay", "remote_save_url", "moe_config"})
    EXPECT_TRUE(names.contains(name)) << name;
  // What rules the result is never passed over in silence.
  for (const char* name :
       {"seed", "runner_config.epochs", "optimizer.beta1", "lr_schedule.warmup_ratio",
        "train_dataset.repeat", "do_eval", "runner_wrapper.scale_sense", "model.model_config.theta",
        "model.model_config.top_p", "callbacks.CheckpointMointor.keep_checkpoint_max"})
    EXPECT_FALSE(names.contains(name)) << name;
}

TEST(KeyTable, bothSpellingsOfTheCheckpointCallbackTakeTheSameKeys) {
  std::string other = kEveryKey;
  other.replace(other.find("CheckpointMointor"), 17, "CheckpointMonitor");
  EXPECT_NO_THROW(check_keys(parse_yaml(other, "t"), "t"));
}

TEST(KeyTable, aSlipInAnyKeyIsAnErrorThatNamesIt) {
  int tried = 0;
  for (const Key& key : key_table()) {
    const std::string path(key.path);
    if (path.starts_with("callbacks.")) continue;
    YamlNode root;
    set_key(root, path + "q", plain_scalar("1"));
    try {
      check_keys(root, "t.yaml");
      ADD_FAILURE() << path << "q was accepted";
    } catch (const UsageError& e) {
      EXPECT_NE(std::string(e.what()).find("unknown key \"" + path + "q\""), std::string::npos)
          << e.what();
      EXPECT_NE(std::string(e.what()).find("try: " + path), std::string::npos) << e.what();
    }
    ++tried;
  }
  EXPECT_GT(tried, 150);
}

}  // namespace
}  // namespace cria::recipe
