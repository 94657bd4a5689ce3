// The recipe's .ckpt files of several ranks, joined by their strategy files, are the files of one rank.
#include "recipe/ckpt_files.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/temporary_folder.h"
#include "checkpoint/transform.h"
#include "formats/mindspore_ckpt.h"

namespace cria::recipe {
namespace {

LlamaConfig tiny_config(bool tied) {
  LlamaConfig c;
  c.hidden_size = 24;
  c.intermediate_size = 48;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 6;
  c.num_key_value_heads = 6;
  c.head_dim = 4;
  c.vocab_size = 36;
  c.max_position_embeddings = 64;
  c.tie_word_embeddings = tied;
  return c;
}

struct Layout {
  std::string name;
  int dp, tp, pp;
  bool shard, vocab_split;
  bool tied = false;
  int group = 0;  // RankGrid::shard
};

/// Every element is a function of its place in the whole model.
void fill(ParamArena& arena, uint64_t seed) {
  for (size_t i = 0; i < arena.params().size(); ++i) {
    const Param& p = arena.params()[i];
    const View v = arena[static_cast<int64_t>(i)];
    const bool norm = p.is_norm();
    for (int64_t r = 0; r < v.rows; ++r) {
      for (int64_t c = 0; c < v.cols; ++c) {
        const int64_t row = norm ? 0 : p.begin[0] + r, col = p.begin.back() + c;
        const uint64_t bits = random_bits(seed, static_cast<uint64_t>(p.number),
                                          static_cast<uint64_t>(row * p.shape.back() + col));
        std::memcpy(v.at(r, c), &bits, static_cast<size_t>(bytes_of(v.dtype, 1)));
      }
    }
  }
}

/// What a rank has, and the files that it writes into a folder after its seventh batch.
void save_rank(const std::string& root, const Layout& layout, int rank) {
  const LlamaConfig config = tiny_config(layout.tied);
  RecipeSettings s;
  s.output_dir = root;
  s.parallel.dp = layout.dp;
  s.parallel.tp = layout.tp;
  s.parallel.pp = layout.pp;
  s.parallel.shard_size = layout.group;
  s.save.prefix = "tiny";
  s.save.whole_ckpt = true;
  const OutputFolders folders(s, rank);
  const RankGrid& grid = folders.grid;
  PipelineSettings pipeline{.vocab_split = layout.vocab_split};
  if (layout.pp > 1) pipeline.runs = split_by_offset(3, layout.pp, 0);
  const OptimizerShard shard{.count = layout.shard ? grid.shard_size() : 1,
                             .index = layout.shard ? grid.shard_index() : 0,
                             .threshold_bytes = 64};
  TrainState state(config, DType::bf16, true, part_of(config, grid, pipeline), shard);
  fill(state.weights, 1);
  fill(state.m, 2);
  fill(state.v, 3);
  state.step = 7;
  const CkptFiles files(folders, s.save, folders.native(false), false);
  files.save(state, 7, 100, 1024.0, true);
  EXPECT_TRUE(files.saved(7, 100));
}

/// Name to dtype, shape and bytes of all tensors of a file.
std::map<std::string, std::tuple<DType, std::vector<int64_t>, std::string>> contents(
    const std::string& path) {
  const auto reader = open_mindspore_ckpt(path);
  std::map<std::string, std::tuple<DType, std::vector<int64_t>, std::string>> out;
  for (size_t i = 0; i < reader->tensors().size(); ++i) {
    const TensorInfo& t = reader->tensors()[i];
    std::string bytes(static_cast<size_t>(t.size_bytes()), '\0');
    reader->read(i, 0, std::as_writable_bytes(std::span(bytes)));
    out[t.name] = {t.dtype, t.shape, bytes};
  }
  return out;
}

class CkptOfRanks : public testing::TestWithParam<Layout> {};

TEST_P(CkptOfRanks, joinIntoTheFilesOfOneRank) {
  const TemporaryFolder folder = TemporaryFolder::in_memory();
  const Layout& layout = GetParam();
  const int ranks = layout.dp * layout.tp * layout.pp;
  save_rank(folder / "one", {"one", 1, 1, 1, false, false, layout.tied}, 0);
  for (int rank = 0; rank < ranks; ++rank) {
    save_rank(folder / "many", layout, rank);
    EXPECT_TRUE(is_file(folder / fmt::format("many/strategy/ckpt_strategy_rank_{}.ckpt", rank)));
    EXPECT_TRUE(
        is_file(folder / fmt::format("many/checkpoint/rank_{0}/tiny_rank_{0}-1_7.ckpt", rank)));
    EXPECT_TRUE(is_file(
        folder / fmt::format("many/checkpoint_network/rank_{0}/tiny_rank_{0}-network.ckpt", rank)));
  }
  EXPECT_FALSE(is_folder(folder / "one/strategy"));
  for (const auto& [from, file] : {std::pair("checkpoint", "tiny_rank_0-1_7.ckpt"),
                                   std::pair("checkpoint_network", "tiny_rank_0-network.ckpt")}) {
    TransformOptions options;
    options.src_strategy = folder / "many/strategy";
    options.src = folder / fmt::format("many/{}", from);
    options.dst = folder / fmt::format("joined/{}", from);
    transform_checkpoint(options);
    EXPECT_EQ(contents(options.dst + "/rank_0/checkpoint_0.ckpt"),
              contents(folder / fmt::format("one/{}/rank_0/{}", from, file)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, CkptOfRanks,
    testing::Values(Layout{"dp2", 2, 1, 1, false, false}, Layout{"dp4_shard", 4, 1, 1, true, false},
                    Layout{"tp2_vocab", 1, 2, 1, false, true}, Layout{"pp3", 1, 1, 3, false, false},
                    Layout{"dp2_tp2_shard", 2, 2, 1, true, false},
                    Layout{"dp2_tp3_pp3_shard_vocab", 2, 3, 3, true, true},
                    Layout{"pp2_tp2_tied", 1, 2, 2, false, true, true},
                    Layout{"dp2_tp2_pp2_shard_tied", 2, 2, 2, true, false, true},
                    Layout{"dp4_groups_of_2", 4, 1, 1, true, false, false, 2},
                    Layout{"dp6_tp2_groups_of_3", 6, 2, 1, true, false, false, 3},
                    Layout{"dp4_tp2_pp2_groups_of_2_tied", 4, 2, 2, true, true, true, 2}),
    [](const auto& layout) { return layout.param.name; });

}  // namespace
}  // namespace cria::recipe
