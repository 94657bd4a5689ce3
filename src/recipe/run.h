// The recipe's two scripts: flags over the YAML file over defaults, then one of four modes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cria::recipe {

enum class Script { run_llama3, run_mindformer };

/// Returns the exit code. Throws Error.
int run_script(Script script, const std::string& name, const std::vector<std::string>& arguments);

/// A configuration by name: as given; below ./configs; below the configs folder that is shipped with the program. Throws
/// UsageError naming the places searched.
std::string find_config(const std::string& name);

/// Flags of the script applied to its configuration, checked, ready to be read; what the flags say beside it.
struct ParsedRun {
  bool help = false;
  std::string config_path;
  struct Extra {
    std::string run_mode;  // empty: not given
    std::string prompt_template;
    int64_t max_steps = 0, threads = 0, step_timeout_s = 0;
    bool strict_upstream = false;
  } extra;
};
ParsedRun parse_run(Script script, const std::string& name,
                    const std::vector<std::string>& arguments, struct YamlNode& root);

}  // namespace cria::recipe
