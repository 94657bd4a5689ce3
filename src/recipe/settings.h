// A configuration as plain typed values; nothing after this file looks at YAML.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "generate/sampling.h"
#include "model/config.h"
#include "recipe/yaml.h"
#include "train/trainer.h"

namespace cria::recipe {

struct DatasetSettings {
  std::string dataset_dir;
  std::vector<std::string> dataset_files;
  bool shuffle = true, use_labels = false;
  int64_t num_samples = 0, repeat = 1;
};

struct SaveSettings {
  std::string prefix = "CKP", directory;
  int64_t every = 1;
  int keep = 5;
  bool network = true;      // write checkpoint_network
  bool whole_ckpt = false;  // checkpoint_format: ckpt
  bool async = false;       // TrainSettings::async_save
  bool wanted = false;      // the callback is listed
};

/// The lengths as the configuration has them; the run knows how many steps there are.
struct ScheduleSettings {
  Schedule schedule;  // kind, rates, cycles, decay_steps
  int64_t total_steps = -1;
  std::optional<double> warmup_ratio;
  std::optional<int64_t> warmup_steps;
  std::optional<double> warmup_epochs;
};

/// model.model_config; what is absent may come from the weights.
struct ModelSettings {
  std::optional<int64_t> hidden_size, intermediate_size, num_layers, num_heads, n_kv_heads,
      vocab_size, max_position_embedding, multiple_of;
  std::optional<double> ffn_dim_multiplier, rms_norm_eps, theta;
  std::optional<bool> tied;
  int64_t seq_length = 2048, batch_size = 1;
  std::optional<int32_t> bos, pad;
  std::vector<int32_t> eos;
  std::string extend_method = "None";
  double scaling_factor = 1;
  DType param = DType::f16, compute = DType::f16;
};

struct PredictSettings {
  std::vector<std::string> prompts;
  std::string save_file = "text_generation_result.txt", prompt_template = "none";
  std::string weights;  // a flag only: plain, or as for cria generate
  std::optional<int64_t> max_length, max_new_tokens;
  int64_t min_length = 0;
  SamplingSettings sampling;
  std::optional<bool> add_bos;
};

/// How a run is divided over devices; all 1 without use_parallel.
struct ParallelSettings {
  int64_t dp = 1, tp = 1, pp = 1;
  bool sequence = false,
       vocab_split = false;    // these and optimizer_shard as wished, whatever the layout
  int64_t micro_batches = 1;   // that flow through a pipeline
  int64_t runs_per_stage = 1;  // more than 1: interleaved schedule
  bool balance_by_cost = false;
  int64_t offset = 0;
  std::vector<int64_t> offsets;
  bool optimizer_shard = false;
  int64_t shard_threshold = 64 << 10;  // bytes
  int64_t shard_size = 0;              // RankGrid::shard
  int zero = 1;                        // OptimizerShard::zero
  int64_t gradient_buckets = 0;        // TrainSettings::gradient_buckets
  bool only_save_strategy = false;     // write the strategy files and end
};

/// How many layers recompute, counted from the first of a stage. Both lists empty: `all` says it for every layer.
struct LayerCounts {
  bool all = false;
  std::vector<int64_t> of_stages;             // taken from a stage's runs in turn
  std::vector<std::vector<int64_t>> of_runs;  // [run of a stage][stage]
};

struct RecipeSettings {
  std::string run_mode = "train", output_dir = "./output";
  std::string load_checkpoint, src_strategy;  // src_strategy: how several ranks' slices lie
  std::optional<int> gpu;                     // which one computes; none: the processor
  bool auto_trans = false;                    // also write them anew for the run's own layout
  int64_t transform_processes = 1;            // ranks that share that work
  bool resume = false;
  std::string resume_from;  // a training checkpoint's folder; empty: the newest
  uint64_t seed = 0;
  ParallelSettings parallel;
  bool sink_mode = true;
  int64_t sink_size = 1, print_every = 1;
  int64_t epochs = 1, batch_size = 1, accumulation = 1, interleave = 1;
  LayerCounts recompute, recompute_gate_up;
  OptimizerSettings optimizer;
  ScheduleSettings schedule;
  LossScaleSettings loss_scale;
  DatasetSettings train_data, eval_data;
  bool do_eval = false;
  int64_t eval_step_interval = 100, eval_epoch_interval = -1;
  SaveSettings save;
  ModelSettings model;
  PredictSettings predict;
  std::string vocab_file;
  int64_t max_steps = 0, threads = 0, step_timeout_s = 0;  // flags only
  bool strict_upstream = false;                            // a flag too
  std::vector<std::string> notes;                          // what was mapped, one line each
};

/// From a checked configuration (recipe/keys.h). Throws UsageError for values that make no sense, alone or together, and for
/// what is not there: eod_reset, beams.
/// `ranks`: how many were started.
RecipeSettings read_settings(const YamlNode& root, int ranks = 1);
/// The division over devices, in a file of its own.
void read_parallel_settings(const YamlNode& root, int ranks, RecipeSettings& settings);
PipelineSettings pipeline_settings(const ParallelSettings& parallel, const LlamaConfig& config,
                                   int64_t seq_length);
/// recompute_config, in a file of its own.
void read_recompute_settings(const YamlNode& root, RecipeSettings& settings);
/// For the layers of a model of so many, divided into `runs` (empty: one stage). Throws UsageError when a list has not one
/// number for each stage.
RecomputePolicy recompute_policy(const RecipeSettings& settings, const StageRuns& runs,
                                 int64_t layers);
/// The model part, in a file of its own: shape, dtypes, tokens, generation.
void read_model_settings(const YamlNode& root, RecipeSettings& settings);

/// Values by dotted path with defaults.
class Values {
 public:
  explicit Values(const YamlNode& root) : root_(root) {}
  [[nodiscard]] std::optional<std::string> text(std::string_view key) const;
  [[nodiscard]] std::optional<bool> boolean(std::string_view key) const;
  [[nodiscard]] std::optional<double> number(std::string_view key) const;
  /// Throws UsageError outside [low, high].
  [[nodiscard]] std::optional<int64_t> integer(std::string_view key, int64_t low,
                                               int64_t high) const;
  [[nodiscard]] const YamlNode* node(std::string_view key) const;
  [[nodiscard]] bool has(std::string_view key) const { return node(key) != nullptr; }

 private:
  const YamlNode& root_;
};

}  // namespace cria::recipe
