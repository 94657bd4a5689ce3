// Generation by several ranks that share every matrix, have some of the layers each, or both: the tokens of one rank, on all of them.
#include <gtest/gtest.h>

#include <mutex>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "comm/groups.h"
#include "generate/generator.h"
#include "model/model_part.h"

namespace cria {
namespace {

LlamaConfig config_of(bool tied, int64_t vocab) {
  LlamaConfig c;
  c.hidden_size = 32;
  c.intermediate_size = 48;
  c.num_hidden_layers = 4;
  c.num_attention_heads = 8;
  c.num_key_value_heads = 4;
  c.head_dim = 4;
  c.vocab_size = vocab;
  c.max_position_embeddings = 1200;
  c.tie_word_embeddings = tied;
  return c;
}

/// The slices of weights large enough for logits that differ.
ParamArena slices(const LlamaConfig& config, const ModelPart& part, ThreadPool& pool) {
  ParamArena weights(config, DType::f32, part);
  init_parameters(weights, 7, pool);
  for (int64_t i = 0; i < std::ssize(weights.params()); ++i) {
    if (weights.params()[static_cast<size_t>(i)].is_norm()) continue;
    auto* const p = static_cast<float*>(weights[i].data);
    for (int64_t e = 0; e < weights[i].elements(); ++e) p[e] *= 20;
  }
  return weights;
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(random_bits(seed, 1, static_cast<uint64_t>(i)) %
                                       static_cast<uint64_t>(vocab)));
  return ids;
}

using Rows = std::vector<std::vector<int32_t>>;

Rows ids_of(const std::vector<Generated>& all) {
  Rows rows;
  for (const Generated& g : all) rows.push_back(g.ids);
  return rows;
}

struct Case {
  std::string name;
  int tp = 1;
  bool tied = false, vocab_split = false;
  int64_t vocab = 64;
  std::vector<std::vector<int64_t>> stages = {{0, 1, 2, 3}};
  [[nodiscard]] int pp() const { return static_cast<int>(stages.size()); }
  /// The model on one rank.
  [[nodiscard]] Case alone() const { return {.name = "one", .tied = tied, .vocab = vocab}; }
};

ModelPart part_of(const Case& c, const RankGrid& grid) {
  return {.layers = c.stages[static_cast<size_t>(grid.stage())],
          .embedding = grid.first_stage(),
          .head = grid.last_stage(),
          .tp = c.tp,
          .tp_index = grid.tp_index(),
          .vocab_split = c.vocab_split};
}

/// What each rank returns.
std::vector<Rows> generate_on(const Case& c, const Rows& prompts,
                              const GenerateSettings& settings) {
  const int ranks = c.tp * c.pp();
  std::vector<Rows> out(static_cast<size_t>(ranks));
  run_as_threads(ranks, [&](Transport& transport) {
    Groups groups(transport, make_grid(1, c.tp, c.pp(), ranks, transport.rank()),
                  {.deadline = std::chrono::seconds(60), .checked = true});
    ThreadPool pool(1);
    ops::Exec exec{pool};
    const LlamaConfig config = config_of(c.tied, c.vocab);
    const ParamArena weights = slices(config, part_of(c, groups.grid), pool);
    GenerateSettings mine = settings;
    mine.groups = &groups;
    out[static_cast<size_t>(transport.rank())] =
        ids_of(generate(config, weights, prompts, mine, exec));
  });
  return out;
}

class SharedGeneration : public testing::TestWithParam<Case> {
 protected:
  SharedGeneration() {
    // Longer than a piece of a prefill, short, and of one token.
    prompts_ = {random_ids(700, GetParam().vocab, 3), random_ids(9, GetParam().vocab, 4),
                random_ids(1, GetParam().vocab, 5)};
    settings_.compute = DType::f32;
    settings_.max_new_tokens = 20;
    settings_.batch_size = 2;
  }
  [[nodiscard]] std::vector<Rows> on(const Case& c) const {
    return generate_on(c, prompts_, settings_);
  }
  Rows prompts_;
  GenerateSettings settings_;
};

TEST_P(SharedGeneration, GreedyTokensAreThoseOfOneRank) {
  const Rows alone = on(GetParam().alone())[0];
  ASSERT_EQ(alone[1].size(), 20U);
  EXPECT_NE(alone[0], alone[1]);
  for (const Rows& rows : on(GetParam())) EXPECT_EQ(rows, alone);
}

TEST_P(SharedGeneration, DrawsAreTheSameOnAllRanks) {
  settings_.sampling.do_sample = true;
  settings_.sampling.temperature = 2;
  settings_.sampling.seed = 11;
  const auto first = on(GetParam());
  for (const Rows& rows : first) EXPECT_EQ(rows, first[0]);
  // Stages change no bit of a logit, so that even draws are one rank's.
  if (GetParam().tp == 1) {
    EXPECT_EQ(first[0], on(GetParam().alone())[0]);
  }
  settings_.sampling.seed = 12;
  EXPECT_NE(on(GetParam())[0], first[0]);
}

TEST_P(SharedGeneration, ARowOfABatchIsTheRowAlone) {
  const Rows together = on(GetParam())[0];
  const Rows all = prompts_;
  for (size_t i = 0; i < all.size(); ++i) {
    prompts_ = {all[i]};
    EXPECT_EQ(on(GetParam())[0][0], together[i]) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, SharedGeneration,
    testing::Values(Case{.name = "tp2", .tp = 2},  // the whole head, shared out
                    Case{.name = "tp2_rows_that_do_not_divide", .tp = 2, .vocab = 61},
                    Case{.name = "tp2_split", .tp = 2, .vocab_split = true},
                    Case{.name = "tp4_split", .tp = 4, .vocab_split = true},
                    Case{.name = "tp2_tied_split", .tp = 2, .tied = true, .vocab_split = true},
                    Case{.name = "tp4_tied", .tp = 4, .tied = true},
                    Case{.name = "pp2", .stages = {{0, 1}, {2, 3}}},
                    Case{.name = "pp2_uneven_tied", .tied = true, .stages = {{0}, {1, 2, 3}}},
                    Case{.name = "pp4_split", .vocab_split = true, .stages = {{0}, {1}, {2}, {3}}},
                    Case{.name = "pp2_interleaved", .stages = {{0, 2}, {1, 3}}},
                    Case{.name = "tp2_pp2", .tp = 2, .stages = {{0, 1}, {2, 3}}},
                    Case{.name = "tp2_pp2_tied_split_interleaved",
                         .tp = 2,
                         .tied = true,
                         .vocab_split = true,
                         .stages = {{0, 2}, {1, 3}}}),
    [](const auto& p) { return p.param.name; });

TEST(SharedGenerationErrors, WeightsOfAnotherGroupAreABug) {
  const LlamaConfig config = config_of(false, 64);
  ThreadPool pool(1);
  ops::Exec exec{pool};
  ModelPart part = whole_model(config);
  part.tp = 2;
  const ParamArena half = slices(config, part, pool);
  const Rows prompts = {{1, 2}};
  EXPECT_THROW(generate(config, half, prompts, {.compute = DType::f32}, exec), std::logic_error);
  part = whole_model(config);
  part.layers = {0, 1};
  part.head = false;
  const ParamArena first = slices(config, part, pool);
  EXPECT_THROW(generate(config, first, prompts, {.compute = DType::f32}, exec), std::logic_error);
}

}  // namespace
}  // namespace cria
