// eval: perplexity of a data set, by the recipe's formula and by tokens.
#include "base/error.h"
#include "base/progress.h"
#include "recipe/auto_transform.h"
#include "recipe/data_setup.h"
#include "recipe/model_setup.h"
#include "recipe/modes.h"
#include "recipe/own_layout.h"
#include "recipe/python_repr.h"
#include "recipe/run_device.h"
#include "train/dataset_source.h"
#include "train/evaluate.h"

namespace cria::recipe {

int run_eval(const RecipeSettings& s, Transport& transport, RecipeLog& log) {
  const RankGrid grid = grid_of_run(s, transport);
  const std::unique_ptr<ops::Device> device = device_of_run(s);
  Groups groups(transport, grid, groups_of_run(s, device.get()));
  std::optional<WeightSource> weights = open_weights(s);
  require(weights.has_value(), "run: eval needs weights; try: --load_checkpoint");
  const LlamaConfig config = model_config(s, &*weights);
  const OpenedData data = open_data("eval_dataset", s.eval_data, s, config);
  DatasetSource source(data.dataset, s.model.seq_length);
  log.info(fmt::format("Create eval dataset finish, dataset size:{}", source.samples_per_epoch()));
  const PipelineSettings pipeline = pipeline_settings(s.parallel, config, s.model.seq_length);
  const ModelPart part = part_of(config, groups.grid, pipeline);
  log.info(check_inference_memory(config, s, part, {.plain = s.model.param}, s.batch_size,
                                  available_to_rank(device.get())));

  ThreadPool pool(static_cast<int>(s.threads));
  ops::Exec exec{.pool = pool, .device = device.get()};
  if (s.auto_trans) use_transformed(s, config, groups, log, weights);
  ParamArena parameters(config, s.model.param, part, {}, device.get());
  load_parameters(*weights, parameters, pool);
  Evaluation e;
  {
    std::optional<Progress> bar;
    if (groups.grid.rank == 0) bar.emplace("eval", source.samples_per_epoch(), "samples");
    int64_t shown = 0;
    e = evaluate(parameters, pipeline, s.model.compute, source, s.batch_size, groups, exec,
                 [&](int64_t done) {
                   if (bar) bar->advance(done - shown);
                   shown = done;
                 });
  }
  log.keep();
  log.info(fmt::format("PerplexityMetric = {{'PerplexityMetric': {{'loss': {}, 'PPL': {}}}}}",
                       python_float(e.recipe_loss), python_float(e.recipe_perplexity)));
  log.info(
      fmt::format("Every token counted the same: loss {}, perplexity {} over {} tokens of {} "
                  "samples",
                  python_float(e.loss), python_float(e.perplexity), e.tokens, e.samples));
  log.info(".........Evaluate Over!.............");
  end_together(groups, groups.shared.settings.deadline);
  return 0;
}

}  // namespace cria::recipe
