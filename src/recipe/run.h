// The recipe's two scripts: flags over the YAML file over defaults, then one of four modes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cria::recipe {

/// `plan` is no script: it takes run_llama3's flags and its own.
enum class Script { run_llama3, run_mindformer, plan };

/// Returns the exit code. Throws Error.
int run_script(Script script, const std::string& name, const std::vector<std::string>& arguments);

/// `cria plan`: the flags of run_llama3 and some of its own; prints what the run would take. Throws Error(memory) when that is
/// more than there is.
int run_plan(const std::string& name, const std::vector<std::string>& arguments);

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
    std::string weights;  // how predict holds them
    int64_t max_steps = 0, threads = 0, step_timeout_s = 0;
    bool strict_upstream = false;
  } extra;
  /// Of `cria plan`.
  struct Plan {
    std::string model, device_memory;
    int64_t ranks = 0;          // 0: those of the layout
    bool layout_given = false;  // by a flag
    bool json = false;
  } plan;
};
ParsedRun parse_run(Script script, const std::string& name,
                    const std::vector<std::string>& arguments, struct YamlNode& root);

}  // namespace cria::recipe
