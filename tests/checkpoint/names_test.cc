#include "checkpoint/names.h"

#include <gtest/gtest.h>

#include "model/params.h"

namespace cria {
namespace {

class Dialects : public testing::TestWithParam<Dialect> {};

TEST_P(Dialects, NameEveryParameterAndBack) {
  for (const Param& p : llama_params(named_config("tiny"))) {
    const std::string other = to_dialect(GetParam(), p.name);
    EXPECT_EQ(from_dialect(GetParam(), other), p.name);
  }
}

TEST_P(Dialects, KnowNoOptimizerState) {
  for (const char* name :
       {"adam_m.model.layers.0.attention.wq.weight", "global_step", "rope.freqs",
        "rope_freqs.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "blk.00.attn_q.weight",
        "layers..attention.wq.weight", "model.layers.99999.mlp.up_proj.weight", ""}) {
    EXPECT_EQ(from_dialect(GetParam(), name), std::nullopt) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Dialects,
                         testing::Values(Dialect::hugging_face, Dialect::mindformers, Dialect::meta,
                                         Dialect::gguf));

TEST(Names, AreTheRecipes) {
  EXPECT_EQ(to_dialect(Dialect::mindformers, "model.embed_tokens.weight"),
            "model.tok_embeddings.embedding_weight");
  EXPECT_EQ(to_dialect(Dialect::mindformers, "model.layers.7.mlp.up_proj.weight"),
            "model.layers.7.feed_forward.w3.weight");
  EXPECT_EQ(to_dialect(Dialect::mindformers, "model.layers.7.mlp.down_proj.weight"),
            "model.layers.7.feed_forward.w2.weight");
  EXPECT_EQ(to_dialect(Dialect::meta, "lm_head.weight"), "output.weight");
  EXPECT_EQ(to_dialect(Dialect::gguf, "model.layers.10.post_attention_layernorm.weight"),
            "blk.10.ffn_norm.weight");
}

TEST(Names, SortIntoTheTablesOrder) {
  const auto params = llama_params(named_config("tiny"));
  for (size_t i = 1; i < params.size(); ++i)
    EXPECT_LT(hf_order(params[i - 1].name), hf_order(params[i].name));
}

TEST(RotaryRows, HalfToPairAndBackIsTheSameRow) {
  for (const int64_t head_dim : {2, 6, 64, 128}) {
    for (int64_t r = 0; r < 3 * head_dim; ++r) {
      EXPECT_EQ(half_row(paired_row(r, head_dim), head_dim), r);
      EXPECT_EQ(paired_row(r, head_dim) / head_dim, r / head_dim) << "a row never leaves its head";
    }
  }
  EXPECT_EQ(paired_row(0, 8), 0);
  EXPECT_EQ(paired_row(4, 8), 1);  // the second half's first row is the first pair's partner
}

}  // namespace
}  // namespace cria
