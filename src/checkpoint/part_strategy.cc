#include "checkpoint/part_strategy.h"

#include "checkpoint/names.h"

namespace cria {

namespace {

std::vector<RecipeParam> recipe_params(const std::vector<Param>& params, const ParamIndex& index,
                                       const ModelPart& part) {
  std::vector<RecipeParam> out;
  for (size_t i = 0; i < params.size(); ++i) {
    const Param& p = params[i];
    if (!p.copy) out.push_back({to_dialect(Dialect::mindformers, p.name), static_cast<int64_t>(i)});
  }
  if (index.tied() && part.head) out.push_back({"lm_head.weight", index.lm_head()});
  return out;
}

/// The devices of a stage as a grid. Dims are counted from the right, and those of one device are left out, as MindSpore does.
struct StageGrid {
  explicit StageGrid(const RankGrid& g)
      : dp(g.dp), tp(g.tp), shard(g.shard_size()), given(g.shard) {
    if (dp > 1) devices.push_back(dp);
    if (tp > 1) devices.push_back(tp);
    if (devices.empty()) devices.push_back(1);
  }
  int64_t dp, tp, shard;
  int given;  // RankGrid::shard
  std::vector<int64_t> devices;
  static constexpr int64_t kTp = 0;
  /// The dp dim divided into copies and the parts of one, beside tp.
  [[nodiscard]] std::vector<int64_t> devices_of_parts() const {
    return shard == dp ? devices : std::vector<int64_t>{dp / shard, shard, tp};
  }
  static constexpr int64_t kParts = 1;
};

/// `tp_dim`: the dim that is cut over tp, or -1.
ParamLayout layout_of(const Param& p, int tp_dim, const StageGrid& grid) {
  ParamLayout layout{.dev_matrix = grid.devices, .tensor_map = {{}}};
  std::vector<int64_t>& map = layout.tensor_map[0];
  map.assign(p.shape.size(), -1);
  if (tp_dim >= 0) map[static_cast<size_t>(tp_dim)] = StageGrid::kTp;
  if (!p.sharded) return layout;
  if (tp_dim < 0 && grid.tp > 1) {
    // An optimizer shard would number the copies over tp as well; the rows are plainly cut over dp.
    layout.dev_matrix = grid.devices_of_parts();
    map[0] = StageGrid::kParts;
  } else {
    layout.opt_weight_shard_step = static_cast<int32_t>(grid.tp);
    layout.opt_weight_shard_size =
        grid.given > 0 ? grid.given : -1;  // -1: over all that hold copies
  }
  return layout;
}

/// The operator that uses a parameter, with the splits of its inputs. Readers take the stage from it and nothing else.
StrategyOperator operator_of(const RecipeParam& named, const Param& p, int tp_dim,
                             const StageGrid& grid, uint32_t stage) {
  const auto dp = static_cast<uint32_t>(grid.dp), tp = static_cast<uint32_t>(grid.tp);
  const uint32_t rows = tp_dim == 0 ? tp : 1, cols = tp_dim == 1 ? tp : 1;
  if (p.is_norm()) return {"Mul_" + named.name, stage, {{dp, 1}, {1}}};
  if (named.name.ends_with("embedding_weight"))
    return {"Gather_" + named.name, stage, {{rows, cols}, {dp, 1}}};
  return {"MatMul_" + named.name, stage, {{dp, cols}, {rows, cols}}};
}

/// `params` have the boxes of the rank's optimizer state.
StrategyFile part_strategy(const LlamaConfig& config, const ModelPart& part,
                           const std::vector<Param>& params, const RankGrid& rank_grid) {
  const StageGrid grid(rank_grid);
  // Without the cut over data-parallel ranks: what is not whole then is cut by tensor parallelism.
  const std::vector<Param> uncut = part_params(config, part);
  const std::vector<RecipeParam> named = recipe_params(params, ParamIndex(config, part), part);
  StrategyFile file;
  for (const char* group : {"", "adam_m.", "adam_v."}) {
    for (const RecipeParam& r : named) {
      const auto i = static_cast<size_t>(r.index);
      const Param& p = params[i];
      const int tp_dim = uncut[i].whole() ? -1 : p.tp_dim;
      file.layouts.emplace_back(group + r.name, layout_of(p, tp_dim, grid));
      if (*group == '\0') {
        file.operators.push_back(
            operator_of(r, p, tp_dim, grid, static_cast<uint32_t>(rank_grid.stage())));
      }
    }
  }
  return file;
}

}  // namespace

std::vector<RecipeParam> recipe_params(const ParamArena& arena) {
  return recipe_params(arena.params(), arena.index(), arena.part());
}

StrategyFile part_strategy(const ParamArena& state, const RankGrid& grid) {
  return part_strategy(state.config(), state.part(), state.params(), grid);
}

StrategyFile part_strategy(const LlamaConfig& config, const ModelPart& part,
                           const OptimizerShard& shard, const RankGrid& grid) {
  return part_strategy(config, part, part_params(config, part, shard), grid);
}

}  // namespace cria
