// cria verify: are a checkpoint's bytes what was written?
#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "checkpoint/train_checkpoint.h"
#include "cli/commands.h"

namespace cria::cli {

int verify(const std::string& name, const std::vector<std::string>& arguments) {
  std::vector<std::string> paths;
  Flags flags(name, "Checks every sum of training checkpoints.",
              "  cria verify output/checkpoint/native\n  cria verify "
              "output/checkpoint/native/step-0000000020");
  flags.positional("path", paths, "a checkpoint's folder, or the folder of all of a run's");
  if (!flags.parse(arguments)) return 0;
  require(!paths.empty(), "{}: no path given; try: --help", name);
  for (const std::string& path : paths) {
    if (is_file(join_path(path, "manifest.json"))) {
      verify_checkpoint(path);
      fmt::print("{}: valid\n", path);
      continue;
    }
    const auto steps = checkpoint_steps(path);
    require(!steps.empty(), "{}: {}: no checkpoint here", name, path);
    for (const int64_t step : steps) {
      verify_checkpoint(checkpoint_folder(path, step));
      fmt::print("{}: valid\n", checkpoint_folder(path, step));
    }
  }
  return 0;
}

}  // namespace cria::cli
