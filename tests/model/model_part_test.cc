#include "model/model_part.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/thread_pool.h"
#include "model/params.h"

namespace cria {
namespace {

LlamaConfig small(bool tied) {
  LlamaConfig c;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_hidden_layers = 4;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 4;
  c.vocab_size = 20;
  c.tie_word_embeddings = tied;
  return c;
}

const Param& named(const ParamArena& arena, const std::string& name) {
  for (const Param& p : arena.params())
    if (p.name == name) return p;
  throw Error(ExitCode::bug, name + " is not held");
}

TEST(ModelPart, MatricesAreCutByRowsOrColumnsAndNormsAreNot) {
  ModelPart part = whole_model(small(false));
  part.tp = 2;
  part.tp_index = 1;
  const ParamArena arena(small(false), DType::f32, part);
  const auto box = [&](const char* name) {
    const Param& p = named(arena, name);
    return std::pair(p.begin, p.size);
  };
  using Box = std::pair<std::vector<int64_t>, std::vector<int64_t>>;
  EXPECT_EQ(box("model.layers.1.self_attn.q_proj.weight"), Box({8, 0}, {8, 16}));
  EXPECT_EQ(box("model.layers.1.self_attn.k_proj.weight"), Box({4, 0}, {4, 16}));
  EXPECT_EQ(box("model.layers.1.self_attn.o_proj.weight"), Box({0, 8}, {16, 8}));
  EXPECT_EQ(box("model.layers.1.mlp.down_proj.weight"), Box({0, 12}, {16, 12}));
  EXPECT_EQ(box("model.layers.1.input_layernorm.weight"), Box({0}, {16}));
  EXPECT_EQ(box("model.embed_tokens.weight"), Box({0, 0}, {20, 16}));
  EXPECT_EQ(arena.qkv_proj(1).rows, 8 + 4 + 4);
  part.vocab_split = true;
  const ParamArena split(small(false), DType::f32, part);
  EXPECT_EQ(named(split, "lm_head.weight").begin, std::vector<int64_t>({10, 0}));
}

TEST(ModelPart, AStageHoldsItsLayersAndTheLastOfATiedModelACopyOfTheTable) {
  ModelPart first = whole_model(small(true)), last = first;
  first.layers = {0, 1};
  first.head = false;
  last.layers = {2, 3};
  last.embedding = false;
  const ParamArena a(small(true), DType::f32, first), b(small(true), DType::f32, last);
  EXPECT_EQ(a.params().size(), 1 + 2 * 9);
  EXPECT_EQ(b.params().size(), 2 * 9 + 2);
  EXPECT_TRUE(b.params().back().copy);
  EXPECT_EQ(b.index().lm_head(), std::ssize(b.params()) - 1);
  EXPECT_EQ(b.params()[static_cast<size_t>(b.index().layer(3))].name,
            "model.layers.3.self_attn.q_proj.weight");
}

TEST(ModelPart, OptimizerStateIsCutByTheRecipesRules) {
  const ModelPart part = whole_model(small(false));
  const OptimizerShard shard{.count = 2, .index = 1, .threshold_bytes = 512};
  const ParamArena arena(small(false), DType::f32, part, shard);
  EXPECT_EQ(named(arena, "model.layers.0.self_attn.q_proj.weight").begin[0], 8);
  // 8 rows of 16 floats are 512 bytes: not more than the threshold.
  EXPECT_FALSE(named(arena, "model.layers.0.self_attn.k_proj.weight").sharded);
  EXPECT_FALSE(named(arena, "model.embed_tokens.weight").sharded);
  EXPECT_FALSE(named(arena, "model.norm.weight").sharded);
  EXPECT_TRUE(named(arena, "lm_head.weight").sharded);
  const OptimizerShard three{.count = 3, .index = 0, .threshold_bytes = 0};
  const ParamArena odd(small(false), DType::f32, part, three);
  EXPECT_FALSE(named(odd, "lm_head.weight").sharded);  // 20 rows do not divide by 3
  EXPECT_TRUE(named(odd, "model.layers.0.mlp.up_proj.weight").sharded);
}

TEST(ModelPart, RandomWeightsOfAPartAreThoseOfTheWholeModel) {
  ThreadPool pool(2);
  ParamArena whole(small(true), DType::f32);
  init_parameters(whole, 9, pool);
  ModelPart part = whole_model(small(true));
  part.tp = 2;
  part.tp_index = 1;
  part.layers = {1, 3};
  part.embedding = false;
  const OptimizerShard shard{.count = 2, .index = 1, .threshold_bytes = 0};
  ParamArena cut(small(true), DType::f32, part, shard);
  init_parameters(cut, 9, pool);
  for (int64_t i = 0; i < std::ssize(cut.params()); ++i) {
    const Param& p = cut.params()[static_cast<size_t>(i)];
    const ConstView all = whole[p.number];
    const int64_t first_col = p.begin.back();
    for (int64_t r = 0; r < p.rows(); ++r) {
      const auto mine = cut[i].row<float>(r);
      EXPECT_EQ(std::memcmp(mine.data(), all.at(p.first_row() + r, first_col), mine.size_bytes()),
                0)
          << p.name << " row " << r;
    }
  }
}

TEST(ModelPart, WhatDoesNotDivideIsRefusedByName) {
  ModelPart part = whole_model(small(false));
  part.tp = 4;
  try {
    check_split(small(false), part);
    FAIL() << "2 KV heads over 4 ranks";
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("num_key_value_heads = 2"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace cria
