// Slices of several ranks as a source of weights: every layout's files load whole and into every other layout.
#include "checkpoint/sliced_ckpt.h"

#include <filesystem>

#include "base/error.h"
#include "base/side_manifest.h"
#include "checkpoint/names.h"
#include "checkpoint/part_strategy.h"
#include "formats/json_file.h"
#include "formats/mindspore_ckpt.h"
#include "layouts_testing.h"

namespace cria::test {
namespace {

using testing::HasSubstr;

std::string rank_folder(const std::string& folder, int rank) {
  return folder + "/rank_" + std::to_string(rank);
}

/// The values that a rank's file has of its weights: the boxes of its state.
ParamArena slices_of(const LlamaConfig& config, const Layout& layout, const RankGrid& grid) {
  ParamArena slices(config, DType::bf16, RankState::part(layout, grid),
                    RankState::shard(layout, grid));
  fill(slices, 5);
  return slices;
}

void write_rank(const std::string& path, const ParamArena& slices) {
  std::vector<TensorInfo> infos;
  for (const RecipeParam& p : recipe_params(slices))
    infos.push_back({p.name, DType::bf16, slices.params()[static_cast<size_t>(p.index)].size});
  infos.push_back({"global_step", DType::i32, {1}});
  const auto writer = make_mindspore_ckpt_writer(path, infos, {});
  for (const RecipeParam& p : recipe_params(slices)) writer->write(bytes_of(slices[p.index]));
  writer->write(std::vector<std::byte>(4));
  writer->commit();
}

/// rank_N/<name> of every rank, and the layout of all of them.
Strategy write_slices(const std::string& folder, const LlamaConfig& config, const Layout& layout,
                      const std::string& name = "net.ckpt") {
  std::vector<std::pair<std::string, StrategyFile>> strategies;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const RankGrid grid = grid_of(layout, rank);
    std::filesystem::create_directories(rank_folder(folder, rank));
    write_rank(rank_folder(folder, rank) + "/" + name, slices_of(config, layout, grid));
    strategies.emplace_back("strategy", part_strategy(config, RankState::part(layout, grid),
                                                      RankState::shard(layout, grid), grid));
  }
  return strategy_of(merge_strategies(strategies), "strategy");
}

class SlicedCkpt : public testing::TestWithParam<std::tuple<bool, size_t>> {};

TEST_P(SlicedCkpt, LoadsIntoEveryLayoutBitForBit) {
  const auto [tied, number] = GetParam();
  const LlamaConfig config = rig_config(tied);
  const Scratch scratch;
  const Strategy strategy = write_slices(scratch.path(""), config, layouts()[number]);
  const WeightSource source = WeightSource::open_slices(scratch.path(""), strategy, config);
  EXPECT_EQ(source.dialect(), Dialect::mindformers);
  EXPECT_THAT(source.others(), testing::ElementsAre("global_step"));
  ThreadPool pool(2);
  for (const Layout& to : layouts()) {
    for (int rank = 0; rank < to.ranks(); ++rank) {
      ParamArena weights(config, DType::bf16, RankState::part(to, grid_of(to, rank)));
      load_parameters(source, weights, pool);
      EXPECT_EQ(count_wrong(weights, 5), 0) << to.name << ", rank " << rank;
      EXPECT_GT(count_wrong(weights, 6), 0) << "the comparison can fail";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, SlicedCkpt,
                         testing::Combine(testing::Bool(),
                                          testing::Range(size_t{0}, layouts().size())),
                         [](const auto& p) {
                           return layouts()[std::get<1>(p.param)].name +
                                  (std::get<0>(p.param) ? "_tied" : "");
                         });

class SlicedFolder : public testing::Test {
 protected:
  SlicedFolder() { strategy_ = write_slices(folder(), config_, layout_); }
  [[nodiscard]] std::string folder() const { return scratch_.path("w"); }
  [[nodiscard]] std::string file(int rank, const std::string& name) const {
    return rank_folder(folder(), rank) + "/" + name;
  }
  void expect_refused(const std::string& message) {
    try {
      WeightSource::open_slices(folder(), strategy_, config_);
      ADD_FAILURE() << "not refused: " << message;
    } catch (const MismatchError& e) {
      EXPECT_THAT(e.what(), HasSubstr(message));
    }
  }
  const Scratch scratch_;
  const LlamaConfig config_ = rig_config(false);
  const Layout layout_{.name = "dp2_tp2", .dp = 2, .tp = 2, .shard = true};
  Strategy strategy_;
};

TEST_F(SlicedFolder, MissingAndLeftOverRanksAreRefused) {
  std::filesystem::create_directories(rank_folder(folder(), 4));
  expect_refused("a folder rank_4, but the strategy has 4 ranks");
  std::filesystem::remove(rank_folder(folder(), 4));
  std::filesystem::remove(file(2, "net.ckpt"));
  expect_refused("rank_2: no .ckpt file");
  std::filesystem::remove_all(rank_folder(folder(), 2));
  expect_refused("no folder rank_2");
  std::filesystem::remove_all(folder());
  EXPECT_THROW(WeightSource::open_slices(folder(), strategy_, config_), IoError);
}

TEST_F(SlicedFolder, TheNewestStepThatAllRanksHaveIsTaken) {
  for (int rank = 0; rank < 4; ++rank) {
    const std::string begin = "x_rank_" + std::to_string(rank);
    std::filesystem::rename(file(rank, "net.ckpt"), file(rank, begin + "-2_10.ckpt"));
    std::ofstream(file(rank, begin + "-2_9.ckpt")) << "no checkpoint";
    // A run that was killed while it saved the next one.
    if (rank < 3) std::ofstream(file(rank, begin + "-3_1.ckpt")) << "no checkpoint";
  }
  EXPECT_THAT(files_of_ranks(folder(), 4),
              testing::ElementsAre(file(0, "x_rank_0-2_10.ckpt"), file(1, "x_rank_1-2_10.ckpt"),
                                   file(2, "x_rank_2-2_10.ckpt"), file(3, "x_rank_3-2_10.ckpt")));
  EXPECT_NO_THROW(WeightSource::open_slices(folder(), strategy_, config_));
}

TEST_F(SlicedFolder, FilesThatCannotBeToldApartAreRefused) {
  for (int rank = 0; rank < 4; ++rank)
    std::filesystem::copy(file(rank, "net.ckpt"), file(rank, "b.ckpt"));
  expect_refused("rank_0: 2 .ckpt files and no steps in their names");
  for (int rank = 0; rank < 4; ++rank) std::filesystem::remove(file(rank, "b.ckpt"));
  std::filesystem::copy(file(1, "net.ckpt"), file(1, "checkpoint_1.ckpt"));
  std::filesystem::copy(file(1, "net.ckpt"), file(1, "checkpoint_2.ckpt"));
  expect_refused("checkpoint_1.ckpt and checkpoint_2.ckpt are of the same step");
}

TEST_F(SlicedFolder, FilesOfDifferentStepsAreRefused) {
  for (int rank = 0; rank < 4; ++rank)
    std::filesystem::rename(file(rank, "net.ckpt"),
                            file(rank, fmt::format("x_rank_{}-1_{}.ckpt", rank, rank < 2 ? 1 : 2)));
  expect_refused("of different steps");
}

TEST_F(SlicedFolder, AStrategyOfAnotherNetworkOrLayoutIsRefused) {
  const Layout other{.name = "dp4", .dp = 4, .shard = true};
  const Strategy right = strategy_;
  strategy_ = write_slices(scratch_.path("other"), config_, other);
  // Four ranks as well, but wq is [48 / 4, 48] in its words: the shape that comes out is no shape of the model.
  const WeightSource source = WeightSource::open_slices(folder(), strategy_, config_);
  ThreadPool pool(1);
  ParamArena weights(config_, DType::bf16);
  EXPECT_THROW(load_parameters(source, weights, pool), MismatchError);
  strategy_ = right;
  strategy_.parameters.clear();
  strategy_.parameters["another"] = right.parameters.begin()->second;
  expect_refused("none of the parameters is in the strategy");
}

TEST_F(SlicedFolder, DamageIsFoundInTheFilesThatAreRead) {
  for (int rank = 0; rank < 4; ++rank) write_side_manifest(file(rank, "net.ckpt"));
  std::string bytes = slurp(file(3, "net.ckpt"));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  spew(file(3, "net.ckpt"), bytes);
  const WeightSource source = WeightSource::open_slices(folder(), strategy_, config_);
  ThreadPool pool(1);
  const auto load = [&](int rank) {
    const Layout tp2{.name = "tp2", .tp = 2};
    ParamArena weights(config_, DType::bf16, RankState::part(tp2, grid_of(tp2, rank)));
    load_parameters(source, weights, pool);
  };
  // The first of two tensor-parallel ranks needs ranks 0 and 2 only.
  EXPECT_NO_THROW(load(0));
  EXPECT_THROW(load(1), FormatError);
}

// MindSpore cut the whole files; here its slices are read as if they had never been cut.
TEST(SlicedCkptPeer, WhatMindSporeCutIsReadWhole) {
  CRIA_NEED_FIXTURES();
  const std::string dist = fixture("mindspore/dist/");
  const auto manifest = load_json(dist + "manifest.json");
  int compared = 0;
  for (const auto& [name, config] : manifest["configs"].items()) {
    SCOPED_TRACE(name);
    const auto whole = open_mindspore_ckpt(dist + config["full"].get<std::string>());
    const auto sliced =
        open_sliced_ckpt(dist + name + "/dist", read_strategy(dist + name + "/strategy"));
    ASSERT_EQ(sliced->tensors().size(), whole->tensors().size());
    for (size_t i = 0; i < whole->tensors().size(); ++i) {
      const TensorInfo& info = whole->tensors()[i];
      const size_t j = sliced->find(info.name).value();
      ASSERT_EQ(sliced->tensors()[j], info);
      // In one piece, and from the middle of a row to the middle of another.
      const auto bytes = static_cast<size_t>(info.size_bytes());
      const auto element = static_cast<size_t>(block_bytes(info.dtype));
      for (const size_t skipped : {size_t{0}, bytes > 4 * element ? element : size_t{0}}) {
        std::vector<std::byte> out(bytes - 2 * skipped);
        sliced->read(j, skipped, out);
        EXPECT_EQ(std::memcmp(out.data(), whole->mapped(i).data() + skipped, out.size()), 0)
            << info.name;
      }
      ++compared;
    }
  }
  EXPECT_GT(compared, 100);
}

}  // namespace
}  // namespace cria::test
