// Generation by several ranks that share every matrix: the tokens of one rank, on all of them.
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
  c.num_hidden_layers = 2;
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

/// What each rank of a tensor-parallel group returns.
std::vector<Rows> generate_on(int ranks, const LlamaConfig& config, bool vocab_split,
                              const Rows& prompts, const GenerateSettings& settings) {
  std::vector<Rows> out(static_cast<size_t>(ranks));
  run_as_threads(ranks, [&](Transport& transport) {
    Groups groups(transport, make_grid(1, ranks, 1, ranks, transport.rank()),
                  {.deadline = std::chrono::seconds(60), .checked = true});
    ModelPart part = whole_model(config);
    part.tp = ranks;
    part.tp_index = transport.rank();
    part.vocab_split = vocab_split && ranks > 1;
    ThreadPool pool(1);
    ops::Exec exec{pool};
    const ParamArena weights = slices(config, part, pool);
    GenerateSettings mine = settings;
    mine.tp = &groups.tp;
    out[static_cast<size_t>(transport.rank())] =
        ids_of(generate(config, weights, prompts, mine, exec));
  });
  return out;
}

struct Case {
  int ranks;
  bool tied, vocab_split;
  int64_t vocab;
};

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
  std::vector<Rows> on(int ranks) {
    const Case& c = GetParam();
    return generate_on(ranks, config_of(c.tied, c.vocab), c.vocab_split, prompts_, settings_);
  }
  Rows prompts_;
  GenerateSettings settings_;
};

TEST_P(SharedGeneration, GreedyTokensAreThoseOfOneRank) {
  const Rows alone = on(1)[0];
  ASSERT_EQ(alone[1].size(), 20U);
  EXPECT_NE(alone[0], alone[1]);
  for (const Rows& rows : on(GetParam().ranks)) EXPECT_EQ(rows, alone);
}

TEST_P(SharedGeneration, DrawsAreTheSameOnAllRanks) {
  settings_.sampling.do_sample = true;
  settings_.sampling.temperature = 2;
  settings_.sampling.seed = 11;
  const auto first = on(GetParam().ranks);
  for (const Rows& rows : first) EXPECT_EQ(rows, first[0]);
  settings_.sampling.seed = 12;
  EXPECT_NE(on(GetParam().ranks)[0], first[0]);
}

TEST_P(SharedGeneration, ARowOfABatchIsTheRowAlone) {
  const Rows together = on(GetParam().ranks)[0];
  const Rows all = prompts_;
  for (size_t i = 0; i < all.size(); ++i) {
    prompts_ = {all[i]};
    EXPECT_EQ(on(GetParam().ranks)[0][0], together[i]) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, SharedGeneration,
                         testing::Values(Case{2, false, false, 64},  // the whole head, shared out
                                         Case{2, false, false, 61},  // rows that do not divide
                                         Case{2, false, true, 64}, Case{4, false, true, 64},
                                         Case{2, true, true, 64}, Case{4, true, false, 64}),
                         [](const auto& p) {
                           const Case& c = p.param;
                           return "tp" + std::to_string(c.ranks) + (c.tied ? "_tied" : "") +
                                  (c.vocab_split ? "_split" : "") + "_v" + std::to_string(c.vocab);
                         });

TEST(SharedGenerationErrors, WeightsOfAnotherGroupAreABug) {
  const LlamaConfig config = config_of(false, 64);
  ThreadPool pool(1);
  ops::Exec exec{pool};
  ModelPart part = whole_model(config);
  part.tp = 2;
  const ParamArena half = slices(config, part, pool);
  const Rows prompts = {{1, 2}};
  EXPECT_THROW(generate(config, half, prompts, {.compute = DType::f32}, exec), std::logic_error);
}

}  // namespace
}  // namespace cria
