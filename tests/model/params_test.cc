// The one list of parameters, the block they live in, and their first values.
#include <cmath>
#include <set>

#include "model/random_model.h"

namespace cria::testing {
namespace {

TEST(Params, AreThoseOfTheCheckpoint) {
  CRIA_NEEDS_FIXTURES();
  for (const char* name : {"tiny-llama3", "small-llama3"}) {
    const FixtureModel model = FixtureModel::load(name, "hf-fp32");  // checks each name and shape
    const GoldenTensors file(fixture_path(std::string(name) + "/hf-fp32/model.safetensors"));
    size_t tensors = 0;
    for (const auto& [key, entry] : file.header().items()) tensors += key != "__metadata__";
    EXPECT_EQ(model.weights.params().size(), tensors);
  }
}

TEST(Params, IndexFindsWhatItsNameSays) {
  for (const bool tied : {false, true}) {
    const LlamaConfig c = odd_config(tied);
    const auto list = llama_params(c);
    const ParamIndex index(c);
    const auto name = [&](int64_t i) { return list.at(static_cast<size_t>(i)).name; };
    EXPECT_EQ(name(index.embed_tokens()), "model.embed_tokens.weight");
    EXPECT_EQ(name(index.q_proj(1)), "model.layers.1.self_attn.q_proj.weight");
    EXPECT_EQ(name(index.k_proj(1)), "model.layers.1.self_attn.k_proj.weight");
    EXPECT_EQ(name(index.v_proj(0)), "model.layers.0.self_attn.v_proj.weight");
    EXPECT_EQ(name(index.o_proj(0)), "model.layers.0.self_attn.o_proj.weight");
    EXPECT_EQ(name(index.gate_proj(1)), "model.layers.1.mlp.gate_proj.weight");
    EXPECT_EQ(name(index.up_proj(1)), "model.layers.1.mlp.up_proj.weight");
    EXPECT_EQ(name(index.down_proj(0)), "model.layers.0.mlp.down_proj.weight");
    EXPECT_EQ(name(index.input_layernorm(1)), "model.layers.1.input_layernorm.weight");
    EXPECT_EQ(name(index.post_attention_layernorm(0)),
              "model.layers.0.post_attention_layernorm.weight");
    EXPECT_EQ(name(index.norm()), "model.norm.weight");
    EXPECT_EQ(name(index.lm_head()), tied ? "model.embed_tokens.weight" : "lm_head.weight");
  }
}

TEST(Params, OnlyMatricesDecayAndAreSplit) {
  for (const Param& p : llama_params(odd_config(false))) {
    EXPECT_EQ(p.decay, !p.is_norm()) << p.name;
    const bool closes =
        p.name.find("o_proj") != std::string::npos || p.name.find("down_proj") != std::string::npos;
    EXPECT_EQ(p.tp_dim, p.is_norm() ? -1 : closes ? 1 : 0) << p.name;
  }
}

TEST(ParamArena, LaysParametersSideBySideWithoutGaps) {
  const LlamaConfig c = odd_config(false);
  ParamArena arena(c, DType::bf16);
  const auto* at = static_cast<const std::byte*>(arena.all().data);
  for (int64_t i = 0; i < std::ssize(arena.params()); ++i) {
    EXPECT_EQ(arena[i].data, at);
    EXPECT_EQ(arena[i].elements(), arena.params()[static_cast<size_t>(i)].elements());
    at += 2 * arena[i].elements();
  }
  EXPECT_EQ(static_cast<int64_t>(arena.size_bytes()), 2 * count_parameters(c));
  const View qkv = arena.qkv_proj(1), gate_up = arena.gate_up_proj(0);
  EXPECT_EQ(qkv.rows, (4 + 2 + 2) * 6);
  EXPECT_EQ(qkv.row_range(24, 12).data, arena[arena.index().k_proj(1)].data);
  EXPECT_EQ(qkv.row_range(36, 12).data, arena[arena.index().v_proj(1)].data);
  EXPECT_EQ(gate_up.rows, 58);
  EXPECT_EQ(gate_up.row_range(29, 29).data, arena[arena.index().up_proj(0)].data);
}

TEST(InitParameters, IsAFunctionOfSeedParameterAndElement) {
  const LlamaConfig c = named_config("tiny");
  ThreadPool one(1), three(3);
  ParamArena a(c, DType::f32), b(c, DType::f32), other(c, DType::f32);
  init_parameters(a, 5, one);
  init_parameters(b, 5, three);
  init_parameters(other, 6, one);
  EXPECT_TRUE(same_bits(a.all(), b.all()));
  EXPECT_FALSE(same_bits(a[0], other[0]));
  EXPECT_FALSE(same_bits(a[a.index().gate_proj(0)], a[a.index().up_proj(0)]));
}

TEST(InitParameters, DrawsNormalsAndLeavesNormsAtOne) {
  const LlamaConfig c = named_config("tiny");
  ThreadPool pool(2);
  ParamArena w(c, DType::bf16);
  init_parameters(w, 5, pool);
  for (const bf16 v : std::as_const(w)[w.index().norm()].row<bf16>(0))
    EXPECT_EQ(static_cast<float>(v), 1.0f);
  double sum = 0, squares = 0;
  const View table = w[0];
  for (int64_t r = 0; r < table.rows; ++r) {
    for (const bf16 v : table.row<bf16>(r)) {
      const auto x = static_cast<double>(static_cast<float>(v));
      sum += x;
      squares += x * x;
    }
  }
  // 32768 draws: the mean's own spread is 0.01 / 181, that of the deviation 0.01 / 256; five of them.
  const auto n = static_cast<double>(table.elements());
  EXPECT_NEAR(sum / n, 0, 2.8e-4);
  EXPECT_NEAR(std::sqrt(squares / n), 0.01, 2e-4);
}

TEST(InitParameters, RefusesTypesWithoutArithmetic) {
  ThreadPool pool(1);
  ParamArena w(odd_config(true), DType::i32);
  EXPECT_THROW(init_parameters(w, 1, pool), UsageError);
}

}  // namespace
}  // namespace cria::testing
