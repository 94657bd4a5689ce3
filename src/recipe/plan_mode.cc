// cria plan: what a run would take, before anything is allocated.
#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "recipe/keys.h"
#include "recipe/model_setup.h"
#include "recipe/run.h"

namespace cria::recipe {
namespace {

/// dp x mp x pp of the configuration.
int64_t ranks_of_layout(const YamlNode& root) {
  const Values v(root);
  if (!v.boolean("use_parallel").value_or(false)) return 1;
  int64_t ranks = 1;
  for (const char* key : {"data_parallel", "model_parallel", "pipeline_stage"}) {
    ranks *= v.integer(std::string("parallel_config.") + key, 1, 1 << 16).value_or(1);
    require(ranks <= 1 << 16, "plan: a layout of {} ranks and more, expected at most {}", ranks,
            1 << 16);
  }
  return ranks;
}

LlamaConfig planned_config(const RecipeSettings& s, const std::string& model) {
  if (!model.empty() && !is_file(model) && !is_folder(model)) return named_config(model);
  RecipeSettings settings = s;
  if (!model.empty()) settings.load_checkpoint = model;
  const std::optional<WeightSource> weights = open_weights(settings);
  return model_config(settings, weights ? &*weights : nullptr);
}

/// The run on so many ranks: as it is, or where only their number was asked for in the best layout.
PlanReport report_of(const ParsedRun::Plan& plan, const YamlNode& root) {
  const bool choose = plan.ranks > 0 && !plan.layout_given;
  const int64_t of_layout = ranks_of_layout(root);
  const int64_t ranks = plan.ranks > 0 ? plan.ranks : of_layout;
  const RecipeSettings s = read_settings(root, static_cast<int>(choose ? of_layout : ranks));
  PlanReport report{.run = training_run(s, planned_config(s, plan.model))};
  report.available = plan.device_memory.empty()
                         ? available_memory() / ranks
                         : parse_bytes(plan.device_memory, "--device_memory");
  report.layouts = propose_layouts(report.run, static_cast<int>(ranks), report.available);
  if (!choose) return report;
  require(!report.layouts.empty(),
          "plan: no layout of {} ranks is allowed for {} samples a step; try: a larger batch_size "
          "or gradient_accumulation_steps",
          ranks, report.run.global_batch());
  report.run = report.layouts.front().run;
  return report;
}

}  // namespace

int run_plan(const std::string& name, const std::vector<std::string>& arguments) {
  YamlNode root;
  const ParsedRun run = parse_run(Script::plan, name, arguments, root);
  if (run.help) return 0;
  check_keys(root, run.config_path);
  const PlanReport report = report_of(run.plan, root);
  fmt::print("{}", run.plan.json ? plan_json(report) : plan_text(report));
  std::fflush(stdout);
  const std::string verdict = plan_verdict(report);
  if (!run.plan.json) fmt::print("\n{}\n", verdict);
  return 0;
}

}  // namespace cria::recipe
