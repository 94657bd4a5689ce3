#include "recipe/run.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "comm/transport.h"
#include "data/template.h"
#include "recipe/ckpt_files.h"
#include "recipe/keys.h"
#include "recipe/log.h"
#include "recipe/modes.h"
#include "train/stop_signals.h"

namespace cria::recipe {

std::string find_config(const std::string& name) {
  require(name.ends_with(".yaml") || name.ends_with(".yml"),
          "run: --config {}: expected a name that ends in .yaml or .yml", escaped(name, 200));
  std::vector<std::string> places = {name};
  if (!name.starts_with('/')) {
    places.push_back(join_path("configs", name));
    for (const char* up : {"../../configs", "../../../configs", "../share/cria/configs"})
      places.push_back(join_path(join_path(program_folder(), up), name));
  }
  for (const std::string& place : places)
    if (is_file(place)) return place;
  throw UsageError(
      fmt::format("run: --config {}: no such file, nor in configs/ here or beside the "
                  "program; try: llama3/run_llama3_8b_8k_800T_A2_64G.yaml",
                  escaped(name, 200)));
}

int run_script(Script script, const std::string& name, const std::vector<std::string>& arguments) {
  YamlNode root;
  const ParsedRun run = parse_run(script, name, arguments, root);
  if (run.help) return 0;
  hold_save_requests();
  const std::vector<std::string> ignored = check_keys(root, run.config_path);
  const std::unique_ptr<Transport> transport = open_transport();
  RecipeSettings s = read_settings(root, transport->size());
  require(
      script != Script::run_llama3 || s.output_dir == "./output" || s.output_dir == "output",
      "{}: {}: output_dir is \"{}\", but this program writes to './output'; try: the environment "
      "variable LOCAL_DEFAULT_PATH",
      name, run.config_path, escaped(s.output_dir, 100));
  s.max_steps = run.extra.max_steps;
  s.step_timeout_s = run.extra.step_timeout_s;
  s.strict_upstream = run.extra.strict_upstream;
  s.threads = run.extra.threads;
  s.predict.prompt_template = run.extra.prompt_template;
  s.predict.weights = run.extra.weights;
  parse_prompt_template(s.predict.prompt_template);

  RecipeLog log(OutputFolders(s, transport->rank()).log);
  log.info(fmt::format("{} with {}", s.run_mode, run.config_path));
  if (!ignored.empty())
    log.info(fmt::format("Accepted without effect here: {}", fmt::join(ignored, ", ")));
  for (const std::string& note : s.notes) log.info(note);
  if (s.run_mode == "predict") return run_predict(s, *transport, log, script == Script::run_llama3);
  if (s.run_mode == "eval") return run_eval(s, *transport, log);
  return run_train(s, *transport, log);
}

}  // namespace cria::recipe
