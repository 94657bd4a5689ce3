// The strategy files that ranks write: by the rules of layouts they describe exactly the boxes that the ranks hold.
#include "checkpoint/part_strategy.h"

#include <set>

#include "checkpoint/layout.h"
#include "checkpoint/names.h"
#include "checkpoint/strategy.h"
#include "layouts_testing.h"

namespace cria::test {
namespace {

class PartStrategy : public testing::TestWithParam<std::tuple<bool, size_t>> {};

TEST_P(PartStrategy, DescribesTheBoxesOfEveryRank) {
  const auto [tied, number] = GetParam();
  const Layout& layout = layouts()[number];
  const LlamaConfig config = rig_config(tied);
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const RankGrid grid = grid_of(layout, rank);
    const RankState state(config, layout, grid);
    const std::vector<std::byte> file = encode_strategy(part_strategy(state.m, grid));
    const StrategyFile strategy = parse_strategy(file, "strategy");
    const std::vector<RecipeParam> params = recipe_params(state.m);
    ASSERT_EQ(strategy.layouts.size(), 3 * params.size());
    for (size_t i = 0; i < strategy.layouts.size(); ++i) {
      const auto& [name, found] = strategy.layouts[i];
      const Param& p = state.m.params()[static_cast<size_t>(params[i % params.size()].index)];
      EXPECT_TRUE(name.ends_with(params[i % params.size()].name));
      EXPECT_EQ(found.devices(), layout.dp * layout.tp);
      const Part expected{p.begin, p.size};
      EXPECT_EQ(part_of(found, p.shape, rank % (layout.dp * layout.tp), name), expected)
          << name << " on rank " << rank << " of " << layout.name;
    }
    for (const StrategyOperator& op : strategy.operators)
      EXPECT_EQ(op.stage, static_cast<uint32_t>(grid.stage()));
  }
}

TEST_P(PartStrategy, NamesAllParametersOfTheRecipesModelOverAllStages) {
  const auto [tied, number] = GetParam();
  const Layout& layout = layouts()[number];
  std::set<std::string> names, expected;
  for (const Param& p : llama_params(rig_config(false)))
    expected.insert(to_dialect(Dialect::mindformers, p.name));
  std::vector<std::pair<std::string, StrategyFile>> files;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const RankGrid grid = grid_of(layout, rank);
    const RankState state(rig_config(tied), layout, grid);
    for (const RecipeParam& p : recipe_params(state.m)) names.insert(p.name);
    files.emplace_back(std::to_string(rank), part_strategy(state.m, grid));
  }
  EXPECT_EQ(names, expected);
  const Strategy merged = strategy_of(merge_strategies(files), "merged");
  EXPECT_EQ(merged.stages, layout.pp);
  EXPECT_EQ(merged.ranks(), layout.ranks());
  for (const std::string& name : expected) {
    ASSERT_NE(merged.find(name), nullptr) << name;
    EXPECT_EQ(merged.find(name)->size(), 1u) << name << " is on several stages";
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, PartStrategy,
                         testing::Combine(testing::Bool(),
                                          testing::Range(size_t{0}, layouts().size())),
                         [](const auto& layout) {
                           return layouts()[std::get<1>(layout.param)].name +
                                  (std::get<0>(layout.param) ? "_tied" : "");
                         });

/// What MindSpore's compiler wrote for the same layout.
void expect_as_compiled(const Layout& layout, const std::vector<int>& ranks) {
  const std::string folder = CRIA_FIXTURES_DIR "/mindspore/dist/" + layout.name + "/strategy/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no fixtures";
  LlamaConfig config = small_config(false);
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.head_dim = 4;
  config.vocab_size = 32;
  for (const int rank : ranks) {
    const RankGrid grid = grid_of(layout, rank);
    OptimizerShard shard = RankState::shard(layout, grid);
    shard.threshold_bytes = 0;
    const ParamArena state(config, DType::f32, RankState::part(layout, grid), shard);
    const StrategyFile peer =
        read_strategy_file(folder + "ckpt_strategy_rank_" + std::to_string(rank) + ".ckpt");
    const std::map<std::string, ParamLayout> theirs(peer.layouts.begin(), peer.layouts.end());
    int compared = 0;
    for (const auto& [name, mine] : part_strategy(state, grid).layouts) {
      // The fixtures cut norms and the embedding too, which the recipe's model never does, and number copies of the head over
      // all four devices.
      if (name.find("norm") != std::string::npos || name.find("embed") != std::string::npos ||
          name.find("lm_head") != std::string::npos)
        continue;
      ASSERT_TRUE(theirs.contains(name)) << name;
      EXPECT_EQ(theirs.at(name), mine) << name;
      ++compared;
    }
    EXPECT_EQ(compared, 3 * 7 * std::ssize(state.part().layers));
  }
}

// Two-way data, two-way model, optimizer shard, two stages.
TEST(PartStrategyPeer, EqualsWhatMindSporeCompiles) {
  expect_as_compiled(
      {.name = "pp2dp2mp2_opt", .dp = 2, .tp = 2, .pp = 2, .shard = true, .stages = {{0}, {1}}},
      {0, 4});
}

// optimizer_weight_shard_size 2 of four-way data.
TEST(PartStrategyPeer, EqualsWhatMindSporeCompilesWithCopies) {
  expect_as_compiled(
      {.name = "dp4mp2_opt2", .dp = 4, .tp = 2, .shard = true, .group = 2, .stages = {{0, 1}}},
      {0, 7});
}

}  // namespace
}  // namespace cria::test
