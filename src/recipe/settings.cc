#include "recipe/settings.h"

#include <algorithm>

#include "base/error.h"
#include "recipe/keys.h"

namespace cria::recipe {
namespace {

constexpr int64_t kMany = int64_t{1} << 40;

void read_runner(const Values& v, RecipeSettings& s) {
  s.epochs = v.integer("runner_config.epochs", 1, kMany).value_or(1);
  s.batch_size = v.integer("runner_config.batch_size", 1, 1 << 20).value_or(1);
  s.accumulation = v.integer("runner_config.gradient_accumulation_steps", 1, 1 << 20).value_or(1);
  s.interleave = v.integer("micro_batch_interleave_num", 1, 1 << 10).value_or(1);
  s.sink_mode = v.boolean("runner_config.sink_mode").value_or(true);
  s.sink_size = v.integer("runner_config.sink_size", -1, kMany).value_or(1);
  require(s.sink_size != 0, "config: runner_config.sink_size is 0, expected -1 or 1 and more");
}

void read_optimizer(const Values& v, RecipeSettings& s) {
  OptimizerSettings& o = s.optimizer;
  o.beta1 = v.number("optimizer.beta1").value_or(0.9);
  o.beta2 = v.number("optimizer.beta2").value_or(0.999);
  if (const YamlNode* betas = v.node("optimizer.betas")) {
    require(
        betas->items.size() == 2 &&
            std::ranges::all_of(betas->items,
                                [](const YamlNode& n) { return n.kind == YamlNode::Kind::number; }),
        "config: optimizer.betas: expected a list of two numbers");
    o.beta1 = betas->items[0].number;
    o.beta2 = betas->items[1].number;
  }
  o.eps = v.number("optimizer.eps").value_or(1e-6);
  o.weight_decay = v.number("optimizer.weight_decay").value_or(0);
  require(o.beta1 > 0 && o.beta1 < 1 && o.beta2 > 0 && o.beta2 < 1,
          "config: optimizer.beta1 {} and beta2 {} must lie between 0 and 1", o.beta1, o.beta2);
  require(o.eps > 0 && o.weight_decay >= 0,
          "config: optimizer.eps {} must be above 0, weight_decay {} 0 or more", o.eps,
          o.weight_decay);
  parse_optimizer(v.text("optimizer.type").value_or("FP32StateAdamWeightDecay"), o);
  o.master_weights = v.text("optimizer.master_weights").value_or("exact") == "exact";
  const bool clip = v.boolean("runner_wrapper.use_clip_grad").value_or(true);
  o.max_grad_norm = clip ? v.number("runner_wrapper.max_grad_norm").value_or(1) : 0;
  require(o.max_grad_norm >= 0, "config: runner_wrapper.max_grad_norm is {}, expected 0 or more",
          o.max_grad_norm);
}

void read_schedule(const Values& v, RecipeSettings& s) {
  ScheduleSettings& r = s.schedule;
  Schedule& c = r.schedule;
  if (!v.has("lr_schedule")) {
    c.kind = Schedule::Kind::constant;
    c.lr = v.number("optimizer.learning_rate").value_or(1e-3);
  } else {
    c.kind = parse_schedule(v.text("lr_schedule.type").value_or("CosineWithWarmUpLR"));
    const auto rate = v.number("lr_schedule.learning_rate");
    c.lr = rate ? *rate : v.number("optimizer.learning_rate").value_or(1e-3);
    const bool polynomial = c.kind == Schedule::Kind::polynomial;
    c.lr_end = v.number("lr_schedule.lr_end").value_or(polynomial ? 1e-7 : 0);
    c.warmup_lr_init = v.number("lr_schedule.warmup_lr_init").value_or(0);
    c.num_cycles = v.number("lr_schedule.num_cycles")
                       .value_or(c.kind == Schedule::Kind::cosine_restarts ? 1 : 0.5);
    c.power = v.number("lr_schedule.power").value_or(1);
    c.decay_steps = v.integer("lr_schedule.decay_steps", 0, kMany).value_or(0);
    r.total_steps = v.integer("lr_schedule.total_steps", -1, kMany).value_or(-1);
    r.warmup_ratio = v.number("lr_schedule.warmup_ratio");
    r.warmup_steps = v.integer("lr_schedule.warmup_steps", 0, kMany);
    r.warmup_epochs = v.number("lr_schedule.warmup_epochs");
    require(!r.warmup_ratio || (*r.warmup_ratio >= 0 && *r.warmup_ratio <= 1),
            "config: lr_schedule.warmup_ratio is {}, expected 0 to 1", r.warmup_ratio.value_or(0));
    require(!r.warmup_epochs || (*r.warmup_epochs >= 0 && *r.warmup_epochs <= 1e9),
            "config: lr_schedule.warmup_epochs is {}, expected 0 or more",
            r.warmup_epochs.value_or(0));
  }
  if (v.boolean("lr_scale").value_or(false)) {
    const double factor = static_cast<double>(s.batch_size) /
                          static_cast<double>(v.integer("lr_scale_factor", 1, kMany).value_or(256));
    c.lr *= factor;
    c.lr_end *= factor;
    c.warmup_lr_init *= factor;
  }
}

void read_loss_scale(const Values& v, RecipeSettings& s) {
  const YamlNode* scale = v.node("runner_wrapper.scale_sense");
  if (scale == nullptr) return;
  LossScaleSettings& l = s.loss_scale;
  if (!scale->is_map()) {
    l.value = v.number("runner_wrapper.scale_sense").value_or(-1);
  } else {
    const std::string type =
        v.text("runner_wrapper.scale_sense.type").value_or("FixedLossScaleUpdateCell");
    using enum LossScaleSettings::Kind;
    l.kind = type.starts_with("Dynamic")    ? dynamic
             : type.starts_with("Adaptive") ? adaptive
                                            : fixed;
    const auto in = [](const char* key) {
      return fmt::format("runner_wrapper.scale_sense.{}", key);
    };
    l.value = v.number(in("loss_scale_value")).value_or(65536);
    l.factor = v.number(in("scale_factor")).value_or(2);
    l.window = v.integer(in("scale_window"), 1, kMany).value_or(1000);
    l.max_window = v.integer(in("max_scale_window"), 1, 1 << 20).value_or(1000);
    l.min_window = v.integer(in("min_scale_window"), 1, 1 << 20).value_or(20);
    require(l.factor > 1, "config: scale_sense.scale_factor is {}, expected more than 1", l.factor);
    require(l.min_window <= l.max_window,
            "config: scale_sense.min_scale_window {} is more than max_scale_window {}",
            l.min_window, l.max_window);
  }
  require(
      l.value >= 1 && l.value <= 1e30,
      "config: runner_wrapper.scale_sense: expected a number of 1 or more, or a map with a type");
}

void read_dataset(const Values& v, const std::string& key, DatasetSettings& d) {
  const auto in = [&](const char* k) { return key + "." + k; };
  d.dataset_dir = v.text(in("data_loader.dataset_dir")).value_or("");
  if (const YamlNode* files = v.node(in("data_loader.dataset_files")))
    for (const YamlNode& f : files->items) d.dataset_files.push_back(f.text);
  d.shuffle = v.boolean(in("data_loader.shuffle")).value_or(key == "train_dataset");
  d.num_samples = v.integer(in("data_loader.num_samples"), 0, kMany).value_or(0);
  d.repeat = v.integer(in("repeat"), 1, 1 << 20).value_or(1);
  require(!v.boolean(in("eod_reset")).value_or(false),
          "config: {}.eod_reset: only False works here", key);
  if (const YamlNode* columns = v.node(in("input_columns"))) {
    bool ids = false;
    for (const YamlNode& c : columns->items) {
      ids |= c.text == "input_ids";
      d.use_labels |= c.text == "labels";
      require(c.text == "input_ids" || c.text == "labels",
              "config: {}.input_columns: unknown column \"{}\", expected input_ids and labels", key,
              escaped(c.text));
    }
    require(ids, "config: {}.input_columns must name input_ids", key);
  }
}

void read_callbacks(const Values& v, RecipeSettings& s) {
  const YamlNode* list = v.node("callbacks");
  if (list == nullptr) return;
  for (const YamlNode& item : list->items) {
    const Values c(item);
    const std::string type = c.text("type").value_or("");
    if (type == "MFLossMonitor") s.print_every = c.integer("per_print_times", 1, kMany).value_or(1);
    if (!type.starts_with("Checkpoint")) continue;
    SaveSettings& save = s.save;
    save.wanted = true;
    save.prefix = c.text("prefix").value_or("CKP");
    require(!save.prefix.empty() && save.prefix.find('/') == std::string::npos &&
                save.prefix.size() <= 100,
            "config: prefix of the checkpoint callback is \"{}\", expected a plain name",
            escaped(save.prefix));
    save.directory = c.text("directory").value_or("");
    save.every = c.integer("save_checkpoint_steps", 0, kMany).value_or(1);
    save.keep = static_cast<int>(c.integer("keep_checkpoint_max", 1, 1 << 20).value_or(5));
    save.network = c.boolean("save_network_params").value_or(true) ||
                   c.boolean("save_trainable_params").value_or(false);
    save.async = c.boolean("async_save").value_or(false);
    save.whole_ckpt = c.text("checkpoint_format").value_or("native") == "ckpt";
    for (const char* key : {"save_checkpoint_seconds", "keep_checkpoint_per_n_minutes"})
      if (c.integer(key, 0, kMany).value_or(0) != 0)
        s.notes.push_back(fmt::format("{}: saves follow steps, never the clock", key));
  }
}

void read_source(const Values& v, int ranks, RecipeSettings& s) {
  s.load_checkpoint = v.text("load_checkpoint").value_or("");
  s.src_strategy = v.text("src_strategy_path_or_dir").value_or("");
  s.auto_trans = v.boolean("auto_trans_ckpt").value_or(false);
  s.transform_processes = v.integer("transform_process_num", 1, kMany).value_or(ranks);
  require(ranks % s.transform_processes == 0,
          "config: transform_process_num is {}, expected a number that divides the {} ranks",
          s.transform_processes, ranks);
}

void read_device(const Values& v, RecipeSettings& s) {
  const std::string target = v.text("context.device_target").value_or("CPU");
  require(target == "CPU" || target == "GPU" || target == "Ascend",
          "config: context.device_target is {}, expected CPU, GPU or Ascend", escaped(target));
  const int64_t number = v.integer("context.device_id", 0, 1 << 10).value_or(0);
  if (target == "GPU") s.gpu = static_cast<int>(number);
  if (target == "Ascend") s.notes.push_back("context.device_target Ascend is mapped to the CPU");
}

}  // namespace

const YamlNode* Values::node(std::string_view key) const { return find_key(root_, key); }
std::optional<std::string> Values::text(std::string_view key) const {
  const YamlNode* n = node(key);
  if (n == nullptr) return std::nullopt;
  return n->text;
}
std::optional<bool> Values::boolean(std::string_view key) const {
  const YamlNode* n = node(key);
  if (n == nullptr) return std::nullopt;
  return n->boolean;
}
std::optional<double> Values::number(std::string_view key) const {
  const YamlNode* n = node(key);
  if (n == nullptr) return std::nullopt;
  require(n->number - n->number == 0, "config: {} is {}, expected a finite number", key, n->text);
  return n->number;
}
std::optional<int64_t> Values::integer(std::string_view key, int64_t low, int64_t high) const {
  const YamlNode* n = node(key);
  if (n == nullptr) return std::nullopt;
  require(n->kind == YamlNode::Kind::integer && n->integer >= low && n->integer <= high,
          "config: {} is {}, expected a whole number from {} to {}", key, escaped(n->text), low,
          high);
  return n->integer;
}

RecipeSettings read_settings(const YamlNode& root, int ranks) {
  const Values v(root);
  RecipeSettings s;
  s.run_mode = v.text("run_mode").value_or("train");
  s.output_dir = v.text("output_dir").value_or("./output");
  read_source(v, ranks, s);
  if (const YamlNode* resume = v.node("resume_training")) {
    s.resume = resume->boolean || resume->kind == YamlNode::Kind::text;
    if (resume->kind == YamlNode::Kind::text) s.resume_from = resume->text;
  }
  s.seed = static_cast<uint64_t>(v.integer("seed", 0, kMany).value_or(0));
  read_runner(v, s);
  read_parallel_settings(root, ranks, s);
  read_optimizer(v, s);
  read_schedule(v, s);
  read_loss_scale(v, s);
  read_dataset(v, "train_dataset", s.train_data);
  read_dataset(v, "eval_dataset", s.eval_data);
  s.do_eval = v.boolean("do_eval").value_or(false);
  s.eval_step_interval = v.integer("eval_step_interval", -1, kMany).value_or(100);
  s.eval_epoch_interval = v.integer("eval_epoch_interval", -1, kMany).value_or(-1);
  read_callbacks(v, s);
  read_recompute_settings(root, s);
  read_device(v, s);
  read_model_settings(root, s);
  return s;
}

}  // namespace cria::recipe
