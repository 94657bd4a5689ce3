// cria verify: are the bytes of checkpoints, weights and data what was written?
#include "base/error.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/side_manifest.h"
#include "checkpoint/train_checkpoint.h"
#include "cli/commands.h"

namespace cria::cli {
namespace {

void verify_sums(const std::string& manifest) {
  check_listed_files(manifest);
  fmt::print("{}: valid\n", manifest);
}

// All files that have sums in a folder of weights or data; false when there are none.
bool verify_files_with_sums(const std::string& folder) {
  bool found = false;
  for (const std::string& name : list_files(folder)) {
    if (!name.ends_with(kSumsSuffix)) continue;
    verify_sums(join_path(folder, name));
    found = true;
  }
  return found;
}

void verify_folder(const std::string& name, const std::string& path) {
  if (is_file(join_path(path, "manifest.json"))) {
    verify_checkpoint(path);
    fmt::print("{}: valid\n", path);
    return;
  }
  const auto steps = checkpoint_steps(path);
  for (const int64_t step : steps) {
    verify_checkpoint(checkpoint_folder(path, step));
    fmt::print("{}: valid\n", checkpoint_folder(path, step));
  }
  const bool sums = is_folder(path) && verify_files_with_sums(path);
  require(sums || !steps.empty(), "{}: {}: no checkpoint and no file with sums here", name, path);
}

}  // namespace

int verify(const std::string& name, const std::vector<std::string>& arguments) {
  std::vector<std::string> paths;
  Flags flags(name, "Checks every sum of training checkpoints, weights and data sets.",
              "  cria verify output/checkpoint/native\n"
              "  cria verify output/checkpoint/native/step-0000000020\n"
              "  cria verify model.ckpt alpaca.mindrecord smollm2-export/");
  flags.positional("path", paths,
                   "a checkpoint's folder, the folder of all of a run's, a file that has "
                   "<name>.sum.json beside it, or a folder of such files");
  if (!flags.parse(arguments)) return 0;
  require(!paths.empty(), "{}: no path given; try: --help", name);
  for (const std::string& path : paths) {
    if (!is_file(path)) {
      verify_folder(name, path);
      continue;
    }
    const std::string sums = path.ends_with(kSumsSuffix) ? path : find_side_manifest(path);
    require(!sums.empty(), "{}: {}: there are no sums beside this file", name, path);
    if (sums != path) check_listed_file(sums, path);
    verify_sums(sums);
  }
  return 0;
}

}  // namespace cria::cli
