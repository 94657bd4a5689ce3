// The flags of run_llama3 and run_mindformer. Each is a key of the configuration under another name.
#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "recipe/keys.h"
#include "recipe/run.h"

namespace cria::recipe {
namespace {

struct RunFlags {
  std::string task = "text_generation", config, prompt_template = "none", weights;
  std::optional<std::string> run_mode, load_checkpoint, src_strategy, resume_text, train_dataset,
      eval_dataset, remote_save_url, vocab_file, device_target, output_dir,
      strategy_load_checkpoint;
  std::vector<std::string> predict_data, options;
  std::optional<int64_t> seq_length, device_id, mode, max_length, dp, mp, pp, micro_batch_num,
      predict_batch_size, seed, epochs, batch_size, accumulation, num_samples;
  std::optional<bool> use_parallel, auto_trans, resume, do_eval, only_save_strategy, profile,
      sink_mode;
  int64_t max_steps = 0, threads = 0, step_timeout_s = 0;
  bool strict_upstream = false;
  ParsedRun::Plan plan;
  std::optional<bool> recompute, parallel_optimizer, sequence_parallel;
  std::vector<std::pair<std::string, std::string>> overrides;
};

void declare_common(Flags& flags, RunFlags& f) {
  flags.text("config", f.config,
             "YAML file: a path, or a name below configs/ such as llama3/x.yaml");
  flags.text("run_mode", f.run_mode, "train, finetune, eval or predict; before the YAML's");
  flags.boolean("use_parallel", f.use_parallel, "several ranks");
  flags.integer("device_id", f.device_id, "which GPU, where device_target is GPU");
  flags.integer("mode", f.mode, "accepted without effect: 0 graph, 1 pynative (and no recompute)");
  flags.text("load_checkpoint", f.load_checkpoint, "weights of any format we read");
  flags.boolean("auto_trans_ckpt", f.auto_trans,
                "also write the weights anew for this run's layout; any layout loads without");
  flags.texts("predict_data", f.predict_data, "prompts, or one file with a prompt a line");
  flags.text("remote_save_url", f.remote_save_url, "accepted without effect");
  flags.text("prompt_template", f.prompt_template, "none, alpaca, vicuna, llama3 or chatml");
  flags.text("weights", f.weights,
             "of predict. keep: blocks of few bits as they are stored, all else in "
             "param_init_type; plain: all in param_init_type; bf16, q8_0, q4_0, ...: rounded while "
             "loading; by default keep");
  flags.integer("max_steps", f.max_steps, "end after so many steps; 0: no cap");
  flags.boolean("strict_upstream", f.strict_upstream,
                "add up the means of micro batches, as the recipe does");
  flags.integer("step_timeout_s", f.step_timeout_s,
                "seconds a rank waits for others, start included; 0: 60, or 10 median steps");
  flags.integer("threads", f.threads, "0: one per core");
  flags.allow_overrides(f.overrides);
}

void declare_llama3(Flags& flags, RunFlags& f) {
  f.max_length = 512;
  flags.text("task", f.task, "text_generation");
  flags.integer("seq_length", f.seq_length, "of the model");
  flags.text("src_strategy", f.src_strategy,
             "how several ranks' slices lie: their strategy files, or a folder of them");
  flags.alias("src_strategy_path_or_dir", "src_strategy");
  flags.boolean("resume", f.resume, "go on from the newest training checkpoint");
  flags.alias("resume_training", "resume");
  flags.text("train_dataset", f.train_dataset, "record file or folder");
  flags.alias("train_data", "train_dataset");
  flags.text("eval_dataset", f.eval_dataset, "record file or folder");
  flags.integer("max_length", f.max_length, "prompt and reply together");
  flags.text("vocab_file", f.vocab_file, "tokenizer.model, tokenizer.json or a GGUF");
  flags.integer("dp", f.dp, "data parallel");
  flags.integer("mp", f.mp, "model parallel");
  flags.integer("pp", f.pp, "pipeline stages");
  flags.integer("micro_batch_num", f.micro_batch_num, "micro batches of a pipeline");
}

void declare_plan(Flags& flags, RunFlags& f) {
  flags.text("model", f.plan.model,
             "instead of a configuration: 8b, 70b, 1b, 3b, 150m, 135m, tiny, or weights");
  flags.integer("ranks", f.plan.ranks,
                "plan for so many; without --dp, --mp and --pp in the best layout");
  flags.text("device_memory", f.plan.device_memory,
             "of each rank, such as 64GB; by default what this machine has, divided by the ranks");
  flags.boolean("json", f.plan.json, "numbers for programs");
  flags.integer("batch_size", f.batch_size, "samples per micro batch");
  flags.integer("gradient_accumulation_steps", f.accumulation, "micro batches per update");
  flags.boolean("recompute", f.recompute, "compute activations again in the backward pass");
  flags.boolean("enable_parallel_optimizer", f.parallel_optimizer,
                "optimizer state cut over data-parallel ranks");
  flags.boolean("use_seq_parallel", f.sequence_parallel, "sequence parallelism");
}

/// What --model stands for: the shipped files' settings around a shape; every key can be overridden.
constexpr std::string_view kPlannedModel = R"(
runner_config: {epochs: 1, batch_size: 1, gradient_accumulation_steps: 1}
use_parallel: True
parallel: {parallel_mode: 1, enable_parallel_optimizer: True}
parallel_config: {data_parallel: 1, model_parallel: 1, pipeline_stage: 1, micro_batch_num: 1}
recompute_config: {recompute: False}
model:
  model_config: {seq_length: 8192, compute_dtype: bfloat16, param_init_type: bfloat16}
)";

void declare_mindformer(Flags& flags, RunFlags& f) {
  flags.text("device_target", f.device_target,
             "GPU: one NVIDIA GPU; CPU and Ascend: the processor");
  flags.boolean("do_eval", f.do_eval, "perplexity during training");
  flags.text("train_dataset_dir", f.train_dataset, "record file or folder");
  flags.text("eval_dataset_dir", f.eval_dataset, "record file or folder");
  flags.integer("predict_batch_size", f.predict_batch_size, "prompts that generate together");
  flags.text("src_strategy_path_or_dir", f.src_strategy,
             "how several ranks' slices lie: their strategy files, or a folder of them");
  flags.boolean("only_save_strategy", f.only_save_strategy,
                "several ranks write their strategy files and end");
  flags.text("resume_training", f.resume_text, "True, or a training checkpoint's folder");
  flags.text("strategy_load_checkpoint", f.strategy_load_checkpoint, "accepted without effect");
  flags.integer("seed", f.seed, "order of the samples, random weights, sampling");
  flags.boolean("profile", f.profile, "accepted without effect");
  flags.texts("options", f.options, "key=value, with dotted keys");
  flags.integer("epochs", f.epochs, "passes over the data");
  flags.integer("batch_size", f.batch_size, "samples per micro batch");
  flags.integer("gradient_accumulation_steps", f.accumulation, "micro batches per update");
  flags.boolean("sink_mode", f.sink_mode, "one log line per sink");
  flags.integer("num_samples", f.num_samples, "at most so many");
  flags.text("output_dir", f.output_dir, "root of what a run writes");
  flags.text("vocab_file", f.vocab_file, "tokenizer.model, tokenizer.json or a GGUF");
}

YamlNode node_of(const std::string& text) {
  YamlNode n;
  n.kind = YamlNode::Kind::text;
  n.text = text;
  return n;
}
YamlNode node_of(int64_t value) { return plain_scalar(std::to_string(value)); }
YamlNode node_of(bool value) { return plain_scalar(value ? "True" : "False"); }

template <class T>
void lay(YamlNode& root, std::string_view key, const std::optional<T>& value) {
  if (value) set_key(root, key, node_of(*value));
}

// Paths in the YAML are null or placeholders where a flag names one.
void lay_flags(YamlNode& root, const RunFlags& f) {
  lay(root, "run_mode", f.run_mode);
  lay(root, "load_checkpoint", f.load_checkpoint);
  lay(root, "src_strategy_path_or_dir", f.src_strategy);
  lay(root, "remote_save_url", f.remote_save_url);
  lay(root, "context.device_target", f.device_target);
  lay(root, "context.device_id", f.device_id);
  lay(root, "context.mode", f.mode);
  lay(root, "output_dir", f.output_dir);
  lay(root, "processor.tokenizer.vocab_file", f.vocab_file);
  for (const auto& [value, role] :
       {std::pair(f.train_dataset, "train_dataset"), std::pair(f.eval_dataset, "eval_dataset")}) {
    if (!value || value->empty()) continue;
    lay(root, fmt::format("{}.data_loader.dataset_dir", role), value);
    set_key(root, fmt::format("{}.data_loader.dataset_files", role), {});
  }
  lay(root, "train_dataset.data_loader.num_samples", f.num_samples);
  lay(root, "model.model_config.seq_length", f.seq_length);
  lay(root, "model.model_config.batch_size", f.predict_batch_size);
  lay(root, "model.model_config.max_length", f.max_length);
  lay(root, "parallel_config.data_parallel", f.dp);
  lay(root, "parallel_config.model_parallel", f.mp);
  lay(root, "parallel_config.pipeline_stage", f.pp);
  lay(root, "parallel_config.micro_batch_num", f.micro_batch_num);
  lay(root, "seed", f.seed);
  lay(root, "runner_config.epochs", f.epochs);
  lay(root, "runner_config.batch_size", f.batch_size);
  lay(root, "runner_config.gradient_accumulation_steps", f.accumulation);
  lay(root, "runner_config.sink_mode", f.sink_mode);
  lay(root, "use_parallel", f.use_parallel);
  lay(root, "auto_trans_ckpt", f.auto_trans);
  lay(root, "only_save_strategy", f.only_save_strategy);
  lay(root, "do_eval", f.do_eval);
  lay(root, "profile", f.profile);
  lay(root, "resume_training", f.resume);
  if (f.resume_text) set_key(root, "resume_training", plain_scalar(*f.resume_text));
  lay(root, "recompute_config.recompute", f.recompute);
  lay(root, "parallel.enable_parallel_optimizer", f.parallel_optimizer);
  lay(root, "parallel_config.use_seq_parallel", f.sequence_parallel);
  if (f.mode.value_or(0) == 1) set_key(root, "recompute_config.recompute", node_of(false));
  if (f.predict_data.empty()) return;
  YamlNode prompts;
  prompts.kind = YamlNode::Kind::list;
  for (const std::string& text : f.predict_data) prompts.items.push_back(node_of(text));
  set_key(root, "input_data", std::move(prompts));
}

void lay_overrides(YamlNode& root, const RunFlags& f) {
  for (const auto& [key, value] : f.overrides) apply_override(root, key, value);
  for (const std::string& option : f.options) {
    const size_t equals = option.find('=');
    require(equals != std::string::npos && equals > 0, "run: --options {}: expected key=value",
            escaped(option, 80));
    const std::string key = option.substr(0, equals), value = option.substr(equals + 1);
    if (key.find('.') == std::string::npos)
      set_key(root, key, plain_scalar(value));
    else
      apply_override(root, key, value);
  }
}

void check_plan_flags(RunFlags& f, const std::string& name) {
  require(f.config.empty() != f.plan.model.empty(), "{}: expected --config or --model{}", name,
          f.config.empty() ? "" : ", not both");
  require(f.plan.ranks >= 0 && f.plan.ranks <= 1 << 16,
          "{}: --ranks is {}, expected 1 to 65536, or 0 for those of the layout", name,
          f.plan.ranks);
  f.plan.layout_given = f.dp || f.mp || f.pp;
  // Whoever asks for ranks means several.
  if (!f.use_parallel && (f.plan.layout_given || f.plan.ranks > 0)) f.use_parallel = true;
}

std::string examples(Script script, const std::string& name) {
  if (script == Script::plan) {
    return fmt::format(
        "  {0} --config llama3/finetune_llama3_8b_8k_800T_A2_64G.yaml --device_memory 64GB\n"
        "  {0} --model 70b --ranks 64 --device_memory 64GB --recompute "
        "--gradient_accumulation_steps 64\n"
        "  {0} --model SmolLM2-135M-Instruct.gguf --dp 2 --seq_length 512 --batch_size 4",
        name);
  }
  return fmt::format(
      "  {0} --config llama3/run_llama3_8b_8k_800T_A2_64G.yaml --run_mode "
      "finetune --load_checkpoint llama3_8b.ckpt {1} alpaca.mindrecord\n"
      "  {0} --config llama3/predict_llama3_8b_800T_A2_64G.yaml --run_mode "
      "predict --load_checkpoint llama3_8b.ckpt --predict_data 'I love "
      "Beijing,because'\n"
      "  {0} --config my.yaml --model.model_config.seq_length 512",
      name, script == Script::run_llama3 ? "--train_dataset" : "--train_dataset_dir");
}

}  // namespace

ParsedRun parse_run(Script script, const std::string& name,
                    const std::vector<std::string>& arguments, YamlNode& root) {
  RunFlags f;
  const bool plans = script == Script::plan;
  Flags flags(name,
              plans ? "Says what a training run will take, before anything is allocated."
                    : "Trains, evaluates or asks a Llama as a YAML file says.",
              examples(script, name));
  declare_common(flags, f);
  script == Script::run_mindformer ? declare_mindformer(flags, f) : declare_llama3(flags, f);
  if (plans) {
    declare_plan(flags, f);
  } else {
    flags.require_flag("config");
  }
  ParsedRun parsed;
  if (!flags.parse(arguments)) {
    parsed.help = true;
    return parsed;
  }
  require(f.max_steps >= 0 && f.step_timeout_s >= 0 && f.threads >= 0 && f.threads <= 4096,
          "{}: --max_steps, --step_timeout_s and --threads must be 0 or more", name);
  require(f.task == "text_generation", "{}: --task is \"{}\", expected text_generation", name,
          escaped(f.task));
  require(!f.predict_batch_size || *f.predict_batch_size >= 1,
          "{}: --predict_batch_size must be 1 or more", name);
  if (plans) {
    check_plan_flags(f, name);
    parsed.plan = f.plan;
  }
  if (f.plan.model.empty()) {
    parsed.config_path = find_config(f.config);
    root = load_config(parsed.config_path);
  } else {
    parsed.config_path = "--model";
    root = parse_yaml(kPlannedModel, parsed.config_path);
  }
  lay_flags(root, f);
  lay_overrides(root, f);
  parsed.extra = {f.run_mode.value_or(""), f.prompt_template, f.weights, f.max_steps, f.threads,
                  f.step_timeout_s,        f.strict_upstream};
  return parsed;
}

}  // namespace cria::recipe
