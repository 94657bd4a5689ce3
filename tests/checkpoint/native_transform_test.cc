// Training checkpoints through transforms, the optimizer's state included: from any layout to any other, to the recipe's .ckpt
// slices and back, every element arrives, and what is written is what a run in that layout writes.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "base/error.h"
#include "base/temporary_folder.h"
#include "checkpoint/checkpoint_files.h"
#include "checkpoint/part_strategy.h"
#include "checkpoint/step_parts.h"
#include "checkpoint/train_checkpoint.h"
#include "checkpoint/transform.h"
#include "layouts_testing.h"
#include "transform_testing.h"

namespace cria::test {
namespace {

using testing::HasSubstr;

constexpr const char* kState =
    R"({"batches_done":7,"updates":6,"steps_per_epoch":3,"loss_scale":{"scale":1024.0}})";

/// What a rank saves: both moments too.
struct FullState : RankState {
  FullState(const LlamaConfig& config, const Layout& layout, const RankGrid& grid)
      : RankState(config, layout, grid),
        v(config, DType::f32, part(layout, grid), shard(layout, grid)) {}
  CheckpointContent all() {
    CheckpointContent c = content();
    c.groups["adam_v"] = &v;
    c.state_json = kState;
    return c;
  }
  void fill_all(uint64_t seed) {
    fill(weights, seed);
    fill(m, seed + 1000);
    fill(v, seed + 1500);
    fill(low, seed + 2000);
  }
  ParamArena v;
};

/// By a run of all ranks.
void save(const std::string& root, const LlamaConfig& config, const Layout& layout,
          int64_t step = 7) {
  run_as_threads(layout.ranks(), [&](Transport& transport) {
    Groups groups(transport, grid_of(layout, transport.rank()), {});
    FullState state(config, layout, groups.grid);
    state.fill_all(static_cast<uint64_t>(step));
    CheckpointStore(root, groups).save(step, config, state.all(), 5);
  });
}

/// Nothing wrong in any group, masters aside where they are new.
void expect_content(const std::string& folder, const LlamaConfig& config, bool masters = true,
                    uint64_t seed = 7) {
  FullState state(config, layouts()[0], grid_of(layouts()[0], 0));
  CheckpointContent content = state.all();
  load_checkpoint(folder, content);
  verify_checkpoint(folder);
  EXPECT_EQ(count_wrong(state.weights, seed), 0);
  EXPECT_EQ(count_wrong(state.m, seed + 1000), 0);
  EXPECT_EQ(count_wrong(state.v, seed + 1500), 0);
  if (masters) {
    EXPECT_EQ(count_wrong(state.low, seed + 2000), 0);
    EXPECT_EQ(nlohmann::json::parse(content.state_json), nlohmann::json::parse(kState));
  } else {
    for (const std::byte b : bytes_of(state.low.all())) ASSERT_EQ(b, std::byte{0});
  }
  EXPECT_GT(count_wrong(state.v, seed + 1501), 0) << "the comparison can fail";
}

/// The strategy files of a layout's ranks.
std::string save_strategies(const std::string& folder, const LlamaConfig& config,
                            const Layout& layout) {
  if (layout.ranks() == 1) return "";
  std::filesystem::create_directories(folder);
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const RankGrid grid = grid_of(layout, rank);
    save_strategy(
        folder + "/ckpt_strategy_rank_" + std::to_string(rank) + ".ckpt",
        part_strategy(config, RankState::part(layout, grid), RankState::shard(layout, grid), grid));
  }
  return folder;
}

TransformOptions to_native(const std::string& src, const std::string& dst,
                           const std::string& strategy) {
  return {.dst_strategy = strategy,
          .src = src,
          .dst = dst,
          .format = CheckpointFormat::native,
          .threads = 2};
}

/// The rank's .ckpt as a training run writes it.
std::string slices_of_rank(const std::string& path, const LlamaConfig& config, const Layout& layout,
                           int rank) {
  const RankGrid grid = grid_of(layout, rank);
  const OptimizerShard shard = RankState::shard(layout, grid);
  std::vector<TensorInfo> infos;
  std::vector<ParamArena> arenas;
  std::vector<std::pair<size_t, int64_t>> order;
  for (const auto& [prefix, dtype, seed] :
       {std::tuple("", DType::bf16, 7), std::tuple("adam_m.", DType::f32, 1007),
        std::tuple("adam_v.", DType::f32, 1507)}) {
    ParamArena& arena = arenas.emplace_back(config, dtype, RankState::part(layout, grid), shard);
    fill(arena, static_cast<uint64_t>(seed));
    for (const RecipeParam& p : recipe_params(arena)) {
      infos.push_back({prefix + p.name, dtype, arena.params()[static_cast<size_t>(p.index)].size});
      order.emplace_back(arenas.size() - 1, p.index);
    }
  }
  const auto writer = make_mindspore_ckpt_writer(path, infos,
                                                 {.scalars = {{"epoch_num", int64_t{3}},
                                                              {"step_num", int64_t{7}},
                                                              {"global_step", int64_t{6}},
                                                              {"loss_scale", 1024.0F}}});
  for (const auto& [arena, index] : order)
    writer->write(bytes_of(std::as_const(arenas[arena])[index]));
  writer->commit();
  return slurp(path);
}

class NativeTransform : public testing::TestWithParam<std::tuple<bool, size_t>> {
 protected:
  [[nodiscard]] bool tied() const { return std::get<0>(GetParam()); }
  [[nodiscard]] const Layout& layout() const { return layouts()[std::get<1>(GetParam())]; }
  const TemporaryFolder scratch_ = TemporaryFolder::in_memory();
};

TEST_P(NativeTransform, GoesToEveryLayoutAndBackWithEveryElement) {
  const LlamaConfig config = rig_config(tied());
  save(scratch_ / "run", config, layout());
  const std::string own = save_strategies(scratch_ / "own", config, layout());
  for (const Layout& to : layouts()) {
    SCOPED_TRACE("to " + to.name);
    const std::string there = scratch_ / ("there_" + to.name),
                      back = scratch_ / ("back_" + to.name);
    const std::string strategy = save_strategies(scratch_ / ("of_" + to.name), config, to);
    transform_checkpoint(to_native(scratch_ / "run", there, strategy));
    expect_content(checkpoint_folder(there, 7), config);
    transform_checkpoint(to_native(checkpoint_folder(there, 7), back, own));
    expect_content(checkpoint_folder(back, 7), config);
    std::filesystem::remove_all(there);
    std::filesystem::remove_all(back);
  }
}

TEST_P(NativeTransform, WritesTheFilesOfARunInThatLayout) {
  const LlamaConfig config = rig_config(tied());
  save(scratch_ / "run", config, layout());
  save(scratch_ / "other", config, layouts()[7]);
  const std::string strategy = save_strategies(scratch_ / "own", config, layout());
  transform_checkpoint(to_native(scratch_ / "other", scratch_ / "out", strategy));
  auto expected = tree(checkpoint_folder(scratch_ / "run", 7));
  auto found = tree(checkpoint_folder(scratch_ / "out", 7));
  // A run cuts weights further for ZeRO-3, which strategies do not tell; and a head that tensor parallelism leaves whole is cut
  // over data-parallel ranks by its strategy.
  const Layout& l = layout();
  if (l.zero == 3 || (l.tp > 1 && l.shard && !l.vocab_split && !tied())) {
    const auto of_weights = [](const auto& file) {
      return file.first.starts_with("model") || file.first == "manifest.json";
    };
    std::erase_if(expected, of_weights);
    std::erase_if(found, of_weights);
  }
  EXPECT_GT(expected.size(), 3u);
  EXPECT_TRUE(found == expected);
}

TEST_P(NativeTransform, BecomesTheSlicesOfARunAndATrainingCheckpointAgain) {
  const LlamaConfig config = rig_config(tied());
  const std::string strategy = save_strategies(scratch_ / "own", config, layout());
  for (const size_t from : {size_t{0}, size_t{7}, size_t{9}}) {
    const std::string run = scratch_ / ("run_" + layouts()[from].name), cut = run + "_cut";
    SCOPED_TRACE("from " + layouts()[from].name);
    save(run, config, layouts()[from]);
    transform_checkpoint({.dst_strategy = strategy, .src = run, .dst = cut, .threads = 2});
    const auto found = tree(cut);
    ASSERT_EQ(std::ssize(found), layout().ranks());
    for (int rank = 0; rank < layout().ranks(); ++rank) {
      const std::string name = fmt::format("rank_{0}/checkpoint_{0}.ckpt", rank);
      ASSERT_TRUE(found.contains(name));
      EXPECT_TRUE(found.at(name) ==
                  slices_of_rank(scratch_ / "expected.ckpt", config, layout(), rank))
          << name;
    }
    TransformOptions again = to_native(cut, run + "_again", "");
    again.src_strategy = strategy;
    again.config = checkpoint_folder(run, 7);
    transform_checkpoint(again);
    expect_content(checkpoint_folder(run + "_again", 7), config, false);
  }
}

// A tied table differs from others where there are stages: the last has a copy.
std::vector<std::tuple<bool, size_t>> cases() {
  std::vector<std::tuple<bool, size_t>> out;
  for (size_t i = 0; i < layouts().size(); ++i) {
    out.emplace_back(false, i);
    if (i == 0 || layouts()[i].pp > 1) out.emplace_back(true, i);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Layouts, NativeTransform, testing::ValuesIn(cases()),
                         [](const auto& layout) {
                           return layouts()[std::get<1>(layout.param)].name +
                                  (std::get<0>(layout.param) ? "_tied" : "");
                         });

class NativeTransformFolder : public testing::Test {
 protected:
  void SetUp() override {
    save(scratch_ / "run", config_, layouts()[9], 6);
    save(scratch_ / "run", config_, layouts()[9], 7);
    strategy_ = save_strategies(scratch_ / "strategy", config_, layouts()[4]);
  }
  /// What is thrown; nothing is left at the destination.
  template <class E>
  void refuse(const TransformOptions& options, const std::string& message) {
    SCOPED_TRACE(message);
    try {
      transform_checkpoint(options);
      ADD_FAILURE() << "no error";
    } catch (const E& e) {
      EXPECT_THAT(e.what(), HasSubstr(message));
    } catch (const Error& e) {
      ADD_FAILURE() << "another error: " << e.what();
    }
    EXPECT_FALSE(std::filesystem::exists(options.dst));
  }
  void damage(int64_t step, const std::string& name) {
    const std::string path = checkpoint_folder(scratch_ / "run", step) + "/" + name;
    std::string bytes = slurp(path);
    bytes[bytes.size() - 5] = static_cast<char>(bytes[bytes.size() - 5] ^ 1);
    spew(path, bytes);
  }
  [[nodiscard]] std::string at(const std::string& name) const { return scratch_ / name; }
  const LlamaConfig config_ = rig_config(false);
  const TemporaryFolder scratch_ = TemporaryFolder::in_memory();
  std::string strategy_;
};

TEST_F(NativeTransformFolder, DamageOfANamedStepIsNamedAndLeavesNothing) {
  const std::string step = checkpoint_folder(at("run"), 7);
  for (const char* name : {"adam_v-00003-of-00004.safetensors", "model-00001-of-00002.safetensors",
                           "config.json", "manifest.json"}) {
    const std::string file = step + "/" + name, whole = slurp(file);
    damage(7, name);
    refuse<FormatError>(to_native(step, at("out"), strategy_), name);
    refuse<FormatError>({.dst_strategy = strategy_, .src = step, .dst = at("out")}, name);
    if (name[0] == 'm') std::filesystem::remove(file);
    if (name == std::string("model-00001-of-00002.safetensors"))
      refuse<FormatError>(to_native(step, at("out"), strategy_), "the file is missing");
    spew(file, whole);
  }
  transform_checkpoint(to_native(step, at("out"), strategy_));
}

TEST_F(NativeTransformFolder, OfAFolderTheNewestValidStepIsTaken) {
  damage(7, "adam_v-00003-of-00004.safetensors");
  testing::internal::CaptureStderr();
  transform_checkpoint(to_native(at("run"), at("out"), strategy_));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("going back to an older"));
  expect_content(checkpoint_folder(at("out"), 6), config_, true, 6);
  EXPECT_FALSE(std::filesystem::exists(checkpoint_folder(at("out"), 7)));
  damage(6, "adam_v-00003-of-00004.safetensors");
  testing::internal::CaptureStderr();
  refuse<MismatchError>(to_native(at("run"), at("none"), strategy_),
                        "none of its 2 checkpoints is valid");
  testing::internal::GetCapturedStderr();
}

TEST_F(NativeTransformFolder, WhatDoesNotFitIsRefused) {
  TransformOptions options = to_native(at("run"), at("out"), strategy_);
  options.src_strategy = strategy_;
  refuse<UsageError>(options, "without --src_ckpt_strategy");
  LlamaConfig smaller = config_;
  smaller.num_hidden_layers = 3;
  Layout three = layouts()[4];
  three.stages = {{0, 1, 2}};
  const std::string other = save_strategies(at("other"), smaller, three);
  refuse<MismatchError>(to_native(at("run"), at("out"), other), "model.layers.3");
  refuse<MismatchError>({.dst_strategy = other, .src = at("run"), .dst = at("out")},
                        "model.layers.3");
  transform_checkpoint({.dst_strategy = strategy_, .src = at("run"), .dst = at("cut")});
  options.src = at("cut");
  refuse<UsageError>(options, "--config config.json");
  options.config = checkpoint_folder(at("run"), 7);
  LlamaConfig wider = config_;
  wider.intermediate_size = 96;
  spew(at("wider.json"), hf_config_json(wider, DType::bf16));
  options.config = at("wider.json");
  refuse<MismatchError>(options, "by the config [96, 48]");
  // Another head than the table.
  spew(at("tied.json"), hf_config_json(rig_config(true), DType::bf16));
  options.config = at("tied.json");
  refuse<MismatchError>(options, "differ, but the config ties them");
}

TEST_F(NativeTransformFolder, WeightsWithoutMomentsAreNoTrainingCheckpoint) {
  const Layout& one = layouts()[0];
  const RankState state(config_, one, grid_of(one, 0));
  std::vector<TensorInfo> infos;
  for (const RecipeParam& p : recipe_params(state.weights))
    infos.push_back(
        {p.name, DType::bf16, state.weights.params()[static_cast<size_t>(p.index)].size});
  save_random(at("net.ckpt"), infos);
  TransformOptions options = to_native(at("net.ckpt"), at("out"), "");
  options.config = checkpoint_folder(at("run"), 7);
  refuse<MismatchError>(options, "no \"adam_m.model.tok_embeddings.embedding_weight\"");
}

TEST_F(NativeTransformFolder, NumbersThatACheckpointDoesNotTellAreLeftOut) {
  const RankGrid grid = grid_of(layouts()[0], 0);
  RankState state(config_, layouts()[0], grid);
  CheckpointStore(at("bare")).save(3, config_, state.content(), 5);
  transform_checkpoint({.src = at("bare"), .dst = at("out")});
  const auto file = open_mindspore_ckpt(at("out/rank_0/checkpoint_0.ckpt"));
  EXPECT_EQ(file->tensors().back().name, "step_num");
  EXPECT_FALSE(file->find("epoch_num"));
  EXPECT_FALSE(file->find("adam_v.norm_out.weight") || file->find("adam_v.model.norm_out.weight"));
  EXPECT_TRUE(file->find("adam_m.model.norm_out.weight"));
}

TEST_F(NativeTransformFolder, OtherStepsOfTheDestinationStay) {
  save(at("there"), config_, layouts()[0], 9);
  transform_checkpoint(to_native(checkpoint_folder(at("run"), 6), at("there"), strategy_));
  EXPECT_EQ(checkpoint_steps(at("there")), (std::vector<int64_t>{6, 9}));
  EXPECT_EQ(slurp(at("there") + "/latest"), "step-0000000009\n");
  const auto before = tree(at("there"));
  EXPECT_THROW(
      transform_checkpoint(to_native(checkpoint_folder(at("run"), 6), at("there"), strategy_)),
      UsageError);
  EXPECT_THROW(transform_checkpoint(to_native(at("run"), checkpoint_folder(at("there"), 9), "")),
               UsageError);
  EXPECT_TRUE(tree(at("there")) == before);
  const CheckpointStore running(at("there"));
  EXPECT_THROW(transform_checkpoint(to_native(at("run"), at("there"), strategy_)), IoError);
}

TEST_F(NativeTransformFolder, WhatElseLiesInTheDestinationStays) {
  std::filesystem::create_directory(at("mine"));
  spew(at("mine/.tmp-notes"), "mine");
  spew(at("mine/a.part-1"), "mine");
  damage(7, "adam_v-00003-of-00004.safetensors");
  const TransformOptions options =
      to_native(checkpoint_folder(at("run"), 7), at("mine"), strategy_);
  EXPECT_THROW(transform_checkpoint(options), FormatError);
  EXPECT_THAT(tree(at("mine")),
              testing::ElementsAre(testing::Key(".tmp-notes"), testing::Key("a.part-1")));
  transform_checkpoint(to_native(checkpoint_folder(at("run"), 6), at("mine"), strategy_));
  EXPECT_EQ(slurp(at("mine/.tmp-notes")), "mine");
  EXPECT_EQ(slurp(at("mine/a.part-1")), "mine");
}

// Half floats: the masters are their values.
TEST_F(NativeTransformFolder, MastersOfHalfFloatsAreMade) {
  const Layout& one = layouts()[0];
  const RankGrid grid = grid_of(one, 0);
  std::vector<TensorInfo> infos;
  const ParamArena table(config_, DType::f16, RankState::part(one, grid));
  for (const auto& [prefix, dtype] : {std::pair("", DType::f16), std::pair("adam_m.", DType::f32),
                                      std::pair("adam_v.", DType::f32)})
    for (const RecipeParam& p : recipe_params(table))
      infos.push_back({prefix + p.name, dtype, table.params()[static_cast<size_t>(p.index)].size});
  save_random(at("half.ckpt"), infos, 3, {{"step_num", int64_t{4}}, {"global_step", int64_t{4}}});
  TransformOptions options = to_native(at("half.ckpt"), at("out"), strategy_);
  options.config = checkpoint_folder(at("run"), 7);
  transform_checkpoint(options);
  ParamArena weights(config_, DType::f16), master(config_, DType::f32), m(config_, DType::f32);
  CheckpointContent content{{{"weights", &weights}, {"master", &master}, {"adam_m", &m}}, "{}"};
  load_checkpoint(checkpoint_folder(at("out"), 4), content);
  const auto half = std::as_const(weights).all().row<f16>(0);
  const auto whole = std::as_const(master).all().row<float>(0);
  ASSERT_EQ(half.size(), whole.size());
  int64_t wrong = 0, numbers = 0;
  for (size_t i = 0; i < half.size(); ++i) {
    const auto value = static_cast<float>(half[i]);
    if (std::isnan(value)) continue;
    ++numbers;
    wrong += value != whole[i];
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(numbers, std::ssize(half) / 2);
}

TEST_F(NativeTransformFolder, AFileThatCannotBeWrittenLeavesNothing) {
  struct rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit limit = {60000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  refuse<IoError>(to_native(at("run"), at("out"), strategy_), "");
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
}

// kill -9 at a random moment: the step is there whole or not at all.
TEST_F(NativeTransformFolder, AKillLeavesNoHalfCheckpoint) {
  const TransformOptions options = to_native(at("run"), at("out"), strategy_);
  const auto start = std::chrono::steady_clock::now();
  transform_checkpoint(options);
  const std::chrono::duration<double, std::micro> once = std::chrono::steady_clock::now() - start;
  std::mt19937 random(5);
  int half = 0, whole = 0;
  for (int trial = 0; trial < 30; ++trial) {
    std::filesystem::remove_all(at("out"));
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      transform_checkpoint(options);
      pause();
    }
    usleep(static_cast<useconds_t>(once.count() * 2 * (random() % 1000) / 1000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    if (checkpoint_steps(at("out")).empty()) {
      ++half;
    } else {
      ++whole;
      expect_content(checkpoint_folder(at("out"), 7), config_);
    }
  }
  EXPECT_GT(half, 0);
  EXPECT_GT(whole, 0);
  // The next one clears what was left.
  std::filesystem::remove_all(checkpoint_folder(at("out"), 7));
  transform_checkpoint(options);
  for (const auto& entry : std::filesystem::directory_iterator(at("out")))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-"));
}

}  // namespace
}  // namespace cria::test
