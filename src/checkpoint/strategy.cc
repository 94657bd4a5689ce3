#include "checkpoint/strategy.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace cria {
namespace {

constexpr const char* kWhat = "MindSpore strategy";

template <class E>
[[noreturn]] void fail(const std::string& path, std::string reason, std::string hint = {}) {
  throw E(describe(
      {.what = kWhat, .path = path, .reason = std::move(reason), .hint = std::move(hint)}));
}

bool is_merged(const StrategyFile& file) {
  return !file.layouts.empty() && std::ranges::all_of(file.layouts, [](const auto& item) {
    return split_staged_name(item.first).prefixed;
  });
}

// A file that was never merged speaks of its own stage only.
void check_single_stage(const StrategyFile& file, const std::string& path) {
  if (is_merged(file) || file.operators.empty() || file.operators[0].stage == 0) return;
  fail<MismatchError>(
      path, fmt::format("the file is of pipeline stage {} alone", file.operators[0].stage),
      "give the folder with all ranks' files, or a merged file");
}

// A merged file left in the folder by an earlier run is of use only when it is alone.
StrategyFile read_folder(const std::string& folder) {
  std::vector<std::pair<std::string, StrategyFile>> files, merged;
  for (const char* end : {".ckpt", ".json"}) {
    for (const std::string& name : list_files(folder)) {
      if (!name.ends_with(end)) continue;
      const std::string path = join_path(folder, name);
      StrategyFile file = read_strategy_file(path);
      (is_merged(file) ? merged : files).emplace_back(path, std::move(file));
    }
    if (!files.empty()) return merge_strategies(files);
    if (merged.size() == 1) return std::move(merged[0].second);
    if (!merged.empty())
      fail<MismatchError>(folder, "several merged strategy files", "name the one that is meant");
  }
  fail<MismatchError>(folder, "no strategy file (*.ckpt) in this folder");
}

}  // namespace

StrategyFile merge_strategies(const std::vector<std::pair<std::string, StrategyFile>>& files) {
  StrategyFile out;
  std::set<uint32_t> seen;
  for (const auto& [path, file] : files) {
    if (file.operators.empty()) fail<FormatError>(path, "no operators, which tell the stage");
    if (file.layouts.empty()) fail<FormatError>(path, "no layouts of parameters");
    const uint32_t stage = file.operators[0].stage;
    if (!seen.insert(stage).second) continue;
    out.operators.insert(out.operators.end(), file.operators.begin(), file.operators.end());
    for (const auto& [name, layout] : file.layouts)
      out.layouts.emplace_back(fmt::format("{}-{}", stage, name), layout);
  }
  return out;
}

const Strategy::Placement* Strategy::find(const std::string& name) const {
  const auto found = parameters.find(name);
  return found == parameters.end() ? nullptr : &found->second;
}

Strategy strategy_of(const StrategyFile& file, const std::string& path) {
  if (file.layouts.empty()) fail<FormatError>(path, "no layouts of parameters");
  check_single_stage(file, path);
  Strategy out{.full = false, .devices = 0};
  std::set<uint32_t> stages;
  for (const auto& [name, layout] : file.layouts) {
    const StagedName staged = split_staged_name(name);
    if (!out.parameters[std::string(staged.name)].emplace(staged.stage, layout).second)
      fail<FormatError>(path, fmt::format("parameter \"{}\" is twice in stage {}",
                                          escaped(staged.name, 80), staged.stage));
    stages.insert(staged.stage);
    out.devices = std::max(out.devices, layout.devices());
  }
  out.stages = static_cast<int64_t>(stages.size());
  if (*stages.rbegin() + 1 != stages.size()) {
    int64_t missing = 0;
    while (stages.contains(static_cast<uint32_t>(missing))) ++missing;
    fail<MismatchError>(
        path,
        fmt::format("pipeline stage {} is missing, stage {} is there", missing, *stages.rbegin()),
        "give the strategy files of all stages");
  }
  if (out.ranks() > kMaxStrategyDevices) fail<FormatError>(path, "more than 2^20 devices");
  for (const auto& [name, layout] : file.layouts) {
    if (out.devices % layout.devices() != 0)
      fail<MismatchError>(path, fmt::format("\"{}\" is laid out on {} devices, another on {}",
                                            escaped(name, 80), layout.devices(), out.devices));
  }
  return out;
}

Strategy read_strategy(const std::string& path) {
  if (path.empty() || path == "None" || path == "none") return {};
  if (is_folder(path)) return strategy_of(read_folder(path), path);
  return strategy_of(read_strategy_file(path), path);
}

}  // namespace cria
