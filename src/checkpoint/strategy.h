// A layout of a whole network over pipeline stages and devices, gathered from strategy files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "formats/strategy_file.h"

namespace cria {

/// One merged file of several ranks' files, as MindSpore's merge_pipeline_strategys makes it: one
/// file per pipeline stage (that of its first operator), later ones of the same stage skipped,
/// names prefixed with the stage. Throws FormatError for a file without operators or layouts.
/// `files` are pairs of path (for messages) and content.
StrategyFile merge_strategies(const std::vector<std::pair<std::string, StrategyFile>>& files);

/// Where every parameter lives.
struct Strategy {
  /// The layout of a parameter by pipeline stage; in more than one for a shared table.
  using Placement = std::map<uint32_t, ParamLayout>;

  /// One device that holds everything whole.
  bool full = true;
  int64_t stages = 1;
  /// Devices of a stage.
  int64_t devices = 1;
  std::unordered_map<std::string, Placement> parameters;

  [[nodiscard]] int64_t ranks() const { return stages * devices; }
  /// Nothing where the parameter is not listed.
  [[nodiscard]] const Placement* find(const std::string& name) const;
};

/// From a strategy file, merged or of one rank of a network of one stage. Throws MismatchError when
/// stages are missing or grids do not agree.
Strategy strategy_of(const StrategyFile& file, const std::string& path);

/// `path` is a strategy file (`.json` for that form), a folder of them, or "" or "None" for full.
Strategy read_strategy(const std::string& path);

}  // namespace cria
