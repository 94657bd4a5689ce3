// cria run, run_llama3, run_mindformer: a YAML file says what to do.
#include "recipe/run.h"

#include "cli/commands.h"

namespace cria::cli {

int run(const std::string& name, const std::vector<std::string>& arguments) {
  // `cria run [python] path/run_llama3.py flags`: the recipe's own commands, as they are written down.
  size_t first = 0;
  if (first < arguments.size() && (arguments[first] == "python" || arguments[first] == "python3"))
    ++first;
  if (first < arguments.size()) {
    const std::vector<std::string> rest(arguments.begin() + static_cast<long>(first) + 1,
                                        arguments.end());
    if (arguments[first].ends_with("run_llama3.py")) return run_llama3("run_llama3", rest);
    if (arguments[first].ends_with("run_mindformer.py"))
      return run_mindformer("run_mindformer", rest);
  }
  return run_mindformer(name, arguments);
}

int run_llama3(const std::string& name, const std::vector<std::string>& arguments) {
  return recipe::run_script(recipe::Script::run_llama3, name, arguments);
}

int plan(const std::string& name, const std::vector<std::string>& arguments) {
  return recipe::run_plan(name, arguments);
}

int run_mindformer(const std::string& name, const std::vector<std::string>& arguments) {
  return recipe::run_script(recipe::Script::run_mindformer, name, arguments);
}

}  // namespace cria::cli
