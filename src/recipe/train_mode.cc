// train and finetune: from settings to a trained model on disk.
#include <algorithm>
#include <memory>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "recipe/auto_transform.h"
#include "recipe/ckpt_files.h"
#include "recipe/data_setup.h"
#include "recipe/model_setup.h"
#include "recipe/modes.h"
#include "recipe/own_layout.h"
#include "recipe/python_repr.h"
#include "recipe/recipe_reporter.h"
#include "recipe/run_device.h"
#include "train/dataset_source.h"
#include "train/evaluate.h"

namespace cria::recipe {
namespace {

bool is_training_checkpoint(const std::string& path) {
  return is_folder(path) && is_file(join_path(path, "manifest.json"));
}

TrainSettings train_settings(const RecipeSettings& s, const StepPlan& plan, const OpenedData& data,
                             const LlamaConfig& config, const std::string& native) {
  TrainSettings t;
  t.epochs = s.epochs;
  t.batch_size = s.batch_size;
  // Interleaved copies are micro batches too; the loss is one mean over all of them.
  t.gradient_accumulation_steps = s.accumulation * s.interleave * s.parallel.micro_batches;
  t.pipeline = pipeline_settings(s.parallel, config, s.model.seq_length);
  t.max_steps = plan.total_steps;
  t.step_timeout = static_cast<double>(s.step_timeout_s);
  t.strict_upstream = s.strict_upstream;
  t.gradient_buckets = s.parallel.gradient_buckets;
  t.seed = s.seed;
  t.compute = s.model.compute;
  t.recompute = recompute_policy(s, t.pipeline.runs, config.num_hidden_layers);
  t.schedule = plan.schedule;
  t.optimizer = s.optimizer;
  t.loss_scale = s.loss_scale;
  if (s.save.wanted) {
    t.checkpoint_root = native;
    // A save falls on the end of a sink.
    t.save_every = (s.save.every + plan.sink_size - 1) / plan.sink_size * plan.sink_size;
    t.keep = s.save.keep;
    t.async_save = s.save.async;
  } else {
    t.save_at_end = false;
  }
  t.identity["begins with bos"] = data.begins_with_bos ? "true" : "false";
  if (data.meta) t.identity["the tokenizer"] = data.meta->tokenizer_sha256;
  return t;
}

void fill_weights(const RecipeSettings& s, const std::optional<WeightSource>& weights,
                  TrainState& state, ThreadPool& pool, RecipeLog& log) {
  if (weights) {
    load_parameters(*weights, state.weights, pool);
    log.info(fmt::format("Weights are loaded from {}", weights->path()));
  } else {
    init_parameters(state.weights, s.seed, pool);
    log.info("load_checkpoint is empty: training starts from random weights");
  }
}

// Perplexity now and then during training.
class Evaluator {
 public:
  Evaluator(const RecipeSettings& s, const ParamArena& weights, const PipelineSettings& pipeline,
            Groups& groups, ops::Exec& exec, RecipeLog& log)
      : s_(s), weights_(weights), pipeline_(pipeline), groups_(groups), exec_(exec), log_(log) {
    if (s.do_eval) data_.emplace(open_data("eval_dataset", s.eval_data, s, weights.config()));
  }
  void after(const StepReport& step) {
    if (!data_) return;
    const bool by_step = s_.eval_step_interval > 0 && step.batch % s_.eval_step_interval == 0;
    const bool by_epoch = s_.eval_epoch_interval > 0 &&
                          step.step_in_epoch == step.steps_per_epoch &&
                          step.epoch % s_.eval_epoch_interval == 0;
    if (!by_step && !by_epoch) return;
    DatasetSource source(data_->dataset, s_.model.seq_length);
    const Evaluation e =
        evaluate(weights_, pipeline_, s_.model.compute, source, s_.batch_size, groups_, exec_);
    log_.info(
        fmt::format("Eval result at step {}: {{'PerplexityMetric': {{'loss': {}, 'PPL': {}}}}}",
                    step.batch, python_float(e.recipe_loss), python_float(e.recipe_perplexity)));
  }

 private:
  const RecipeSettings& s_;
  const ParamArena& weights_;
  const PipelineSettings& pipeline_;
  Groups& groups_;
  ops::Exec& exec_;
  RecipeLog& log_;
  std::optional<OpenedData> data_;
};

// Where a resumed run goes on: a named checkpoint, load_checkpoint when that is one, else the newest.
std::string resume_folder(const RecipeSettings& s, const std::string& native) {
  if (!s.resume_from.empty()) {
    for (const std::string& path : {s.resume_from, join_path(native, s.resume_from)})
      if (is_training_checkpoint(path)) return path;
    throw UsageError(fmt::format("run: resume_training: {}: no training checkpoint there",
                                 escaped(s.resume_from, 200)));
  }
  return is_training_checkpoint(s.load_checkpoint) ? s.load_checkpoint : "";
}

// The newest checkpoint tells the shape where nothing else does.
RecipeSettings with_resumed_shape(RecipeSettings s, const std::string& native) {
  if (!s.resume || !s.load_checkpoint.empty()) return s;
  const std::vector<int64_t> steps =
      is_folder(native) ? checkpoint_steps(native) : std::vector<int64_t>();
  require<MismatchError>(!steps.empty() || !s.resume_from.empty(),
                         "run: {}: No checkpoint could be resumed.", native);
  s.src_strategy.clear();  // of other weights
  s.load_checkpoint =
      s.resume_from.empty() ? checkpoint_folder(native, steps.back()) : resume_folder(s, native);
  return s;
}

}  // namespace

int run_train(const RecipeSettings& s, Transport& transport, RecipeLog& log) {
  const RankGrid grid = grid_of_run(s, transport);
  const std::unique_ptr<ops::Device> device = device_of_run(s);
  Groups groups(transport, grid, groups_of_run(s, device.get()));
  const OutputFolders folders(s, grid.rank);
  const std::string native = folders.native(s.resume);
  const std::string from = s.resume ? resume_folder(s, native) : "";
  std::optional<WeightSource> weights = open_weights(with_resumed_shape(s, native));
  const LlamaConfig config = model_config(s, weights ? &*weights : nullptr);
  const OpenedData data = open_data("train_dataset", s.train_data, s, config);
  DatasetSource source(data.dataset, s.model.seq_length);
  const StepPlan plan = plan_steps(s, source.samples_per_epoch());
  log.info(fmt::format("Create train dataset finish, dataset size:{}", plan.steps_per_epoch));
  log.info(
      fmt::format("Will be Training epochs:{}, sink_size:{}", plan.sink_epochs, plan.sink_size));
  log.info(fmt::format("Network Parameters: {} M.", count_parameters(config) / 1000000));
  const TrainSettings settings = train_settings(s, plan, data, config, native);
  const ModelPart part = part_of(config, grid, settings.pipeline);
  ThreadPool pool(static_cast<int>(s.threads));
  TrainingRun planned = training_run(s, config);
  planned.threads = pool.threads();
  log.info(check_training_memory(planned, grid.rank, available_to_rank(device.get())));

  ops::Exec exec{.pool = pool, .device = device.get()};
  TrainState state(config, s.model.param, s.optimizer.master_weights, part,
                   shard_of_run(s.parallel, grid), device.get());
  const CkptFiles files(folders, s.save, native, s.resume);
  if (s.parallel.only_save_strategy) {
    files.save_strategy(state);
    log.info("The strategy is written; only_save_strategy ends the run here");
    return 0;
  }
  if (!s.resume) {
    if (s.auto_trans) use_transformed(s, config, groups, log, weights);
    fill_weights(s, weights, state, pool, log);
    state.start(exec);
  }
  Evaluator evaluator(s, state.weights, settings.pipeline, groups, exec, log);
  PeakMemory peak;
  if (s.resume) peak.files_were_unmapped();
  RecipeReporter reporter(log, s, plan.steps_per_epoch, [&](const StepReport& step) {
    evaluator.after(step);
    peak.look();
  });
  Trainer trainer(state, settings, source, groups, exec, reporter);
  if (s.resume) {
    require<MismatchError>(trainer.resume(from), "run: {}: No checkpoint could be resumed.",
                           native);
  }
  log.keep();
  // Always after the native checkpoint of the same step, which knows the loss scale.
  const ExtraSave extra = [&](int64_t batch) {
    peak.files_were_unmapped();
    const double loss_scale = saved_loss_scale(checkpoint_folder(native, batch));
    files.save(state, batch, plan.steps_per_epoch, loss_scale, data.begins_with_bos);
  };
  // A run that was killed may have left its last step without the recipe's files.
  const int64_t done = trainer.batches_done();
  if (s.resume && s.save.wanted && is_folder(checkpoint_folder(native, done)) &&
      !files.saved(done, plan.steps_per_epoch))
    extra(done);
  const TrainResult result = trainer.run(s.save.wanted ? extra : ExtraSave());
  end_together(groups, groups.shared.settings.deadline);
  // On a GPU what the process itself held says nothing.
  if (device == nullptr) log.info(peak_text(rank_memory(planned, grid.rank).total(), peak.bytes()));
  if (!result.stopped_by_signal) return 0;
  log.info(fmt::format("Stopped by a signal after step {}; --resume True goes on", result.batches));
  return static_cast<int>(ExitCode::stopped);
}

}  // namespace cria::recipe
