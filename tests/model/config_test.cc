// config.json and params.json: what published files say, what we write, and what is refused.
#include <nlohmann/json.hpp>

#include "model/fixture_model.h"

namespace cria::testing {
namespace {

using ops::RopeScaling;
using ::testing::HasSubstr;

LlamaConfig parse(const nlohmann::ordered_json& json) {
  return parse_hf_config(json.dump(), "config.json");
}

// Meta-Llama-3-8B's published config.json.
const char* const kLlama3 = R"({
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 4096,
  "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 8192,
  "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
  "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 500000.0,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.40.0.dev0",
  "use_cache": true, "vocab_size": 128256 })";

nlohmann::ordered_json llama3() { return nlohmann::ordered_json::parse(kLlama3); }

TEST(HfConfig, ReadsLlama3) {
  LlamaConfig want = named_config("8b");
  want.torch_dtype = DType::bf16;
  EXPECT_EQ(parse_hf_config(kLlama3, "config.json"), want);
}

TEST(HfConfig, ReadsTheFixtures) {
  CRIA_NEEDS_FIXTURES();
  for (const char* name : {"tiny-llama3/hf-fp32", "tiny-llama3/hf-bf16", "small-llama3/hf-fp32"}) {
    const auto path = fixture_path(std::string(name) + "/config.json");
    const auto json = read_json(path);
    const LlamaConfig c = parse_hf_config(read_text(path), path);
    EXPECT_EQ(c.hidden_size, json["hidden_size"]);
    EXPECT_EQ(c.intermediate_size, json["intermediate_size"]);
    EXPECT_EQ(c.head_dim, json["head_dim"]);
    EXPECT_EQ(c.rope_theta, json["rope_theta"]);
    EXPECT_EQ(c.eos_token_ids, std::vector<int32_t>{json["eos_token_id"]});
  }
}

// What we write holds every key that transformers itself writes, with the same value.
TEST(HfConfig, WritesWhatTransformersWrites) {
  CRIA_NEEDS_FIXTURES();
  const auto path = fixture_path("small-llama3/hf-bf16/config.json");
  const auto written =
      nlohmann::json::parse(hf_config_json(parse_hf_config(read_text(path), path), DType::bf16));
  const auto golden = read_json(path);
  for (const auto& [key, value] : golden.items()) {
    if (key == "transformers_version") continue;
    EXPECT_EQ(written.value(key, nlohmann::json("missing")), value) << key;
  }
}

TEST(HfConfig, WrittenThenReadIsTheSame) {
  for (const char* name : {"8b", "70b", "1b", "3b", "150m", "135m", "tiny"}) {
    LlamaConfig c = named_config(name);
    c.torch_dtype = DType::f16;
    EXPECT_EQ(parse_hf_config(hf_config_json(c, DType::f16), name), c);
  }
}

TEST(HfConfig, StretchedThetaIsWrittenAsTheta) {
  LlamaConfig c = named_config("tiny");
  c.rope_scaling = {.kind = RopeScaling::Kind::dynamic_ntk_theta, .factor = 4};
  const LlamaConfig back = parse_hf_config(hf_config_json(c, DType::f32), "x");
  EXPECT_EQ(back.rope_theta, 2000000);
  EXPECT_EQ(back.rope_scaling.kind, RopeScaling::Kind::none);
}

TEST(HfConfig, ReadsEverySpellingOfRopeScaling) {
  auto json = llama3();
  const nlohmann::ordered_json scaling = {{"factor", 8.0},
                                          {"high_freq_factor", 4.0},
                                          {"low_freq_factor", 1.0},
                                          {"original_max_position_embeddings", 8192},
                                          {"rope_type", "llama3"}};
  json["rope_scaling"] = scaling;
  const LlamaConfig want = parse(json);
  EXPECT_EQ(want.rope_scaling.kind, RopeScaling::Kind::llama3);
  EXPECT_EQ(want.rope_scaling.factor, 8);
  json.erase("rope_scaling");
  json.erase("rope_theta");
  json["rope_parameters"] = scaling;
  json["rope_parameters"]["rope_theta"] = 500000.0;
  EXPECT_EQ(parse(json), want);
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500000.0}};
  EXPECT_EQ(parse(json).rope_scaling, RopeScaling());
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  json.erase("rope_parameters");
  EXPECT_EQ(parse(json).rope_scaling.kind, RopeScaling::Kind::linear);
}

TEST(HfConfig, EosMayBeANumberAListOrNothing) {
  auto json = llama3();
  json["eos_token_id"] = {128001, 128008, 128009};
  EXPECT_EQ(parse(json).eos_token_ids, (std::vector<int32_t>{128001, 128008, 128009}));
  json["eos_token_id"] = nullptr;
  EXPECT_TRUE(parse(json).eos_token_ids.empty());
  json["pad_token_id"] = -1;
  EXPECT_EQ(parse(json).pad_token_id, std::nullopt);
}

TEST(HfConfig, MissingKeysMeanWhatTransformersMeans) {
  auto json = llama3();
  for (const char* key : {"num_key_value_heads", "rope_theta", "rms_norm_eps",
                          "max_position_embeddings", "torch_dtype"})
    json.erase(key);
  const LlamaConfig c = parse(json);
  EXPECT_EQ(c.num_key_value_heads, 32);
  EXPECT_EQ(c.rope_theta, 10000);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_EQ(c.max_position_embeddings, 2048);
  EXPECT_EQ(c.torch_dtype, std::nullopt);
}

struct Hostile {
  const char* key;
  nlohmann::ordered_json value;
  const char* message;
};

TEST(HfConfig, HostileValuesAreNamed) {
  const std::vector<Hostile> all = {
      {"hidden_size", 0, "hidden_size = 0, expected 1 to 1048576"},
      {"hidden_size", -4096, "hidden_size = -4096"},
      {"hidden_size", int64_t{1} << 40, "hidden_size"},
      {"hidden_size", 18446744073709551615ULL, "whole number"},
      {"hidden_size", 4096.0, "\"hidden_size\", expected a whole number, found 4096.0"},
      {"hidden_size", "4096", "whole number"},
      {"hidden_size", nullptr, "whole number"},
      {"num_hidden_layers", 1025, "num_hidden_layers = 1025, expected 1 to 1024"},
      {"num_attention_heads", 0, "num_attention_heads"},
      {"num_attention_heads", 33, "num_attention_heads"},
      {"num_key_value_heads", 0, "num_key_value_heads = 0"},
      {"num_key_value_heads", 5, "does not divide"},
      {"head_dim", 127, "expected an even number"},
      {"head_dim", 1 << 20, "num_attention_heads"},
      {"intermediate_size", 0, "intermediate_size = 0"},
      {"vocab_size", (1 << 24) + 1, "vocab_size"},
      {"max_position_embeddings", 0, "max_position_embeddings = 0"},
      {"rms_norm_eps", 0.0, "rms_norm_eps = 0"},
      {"rms_norm_eps", "tiny", "a number"},
      {"rope_theta", -1.0, "rope_theta = -1"},
      {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}, "yarn"},
      {"rope_scaling", {{"rope_type", "linear"}}, "\"rope_scaling.factor\", expected a number"},
      {"rope_scaling", {{"rope_type", "linear"}, {"factor", 0}}, "rope_scaling.factor = 0"},
      {"rope_scaling",
       {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}},
       "high_freq_factor"},
      {"rope_scaling", "linear", "expected a JSON object"},
      {"tie_word_embeddings", 1, "true or false"},
      {"torch_dtype", "int3", "torch_dtype"},
      {"eos_token_id", 128256, "eos_token_id = 128256"},
      {"eos_token_id", -2, "a token id"},
      {"eos_token_id", {1, "x"}, "token ids"},
      {"eos_token_id", {18446744073709551615ULL}, "token ids"},
      {"bos_token_id", int64_t{1} << 33, "a token id"},
      {"model_type", "mistral", "mistral"},
      {"hidden_act", "gelu", "gelu"},
      {"attention_bias", true, "attention_bias"},
      {"mlp_bias", true, "mlp_bias"},
      {"quantization_config", {{"bits", 4}}, "quantization_config"},
      {"quantization_config", {{"quant_method", "gptq"}}, "compressed-tensors"},
      {"quantization_config", {{"quant_method", 4}}, "quantization_config.quant_method"},
      {"quantization_config", "compressed-tensors", "expected a JSON object"},
  };
  for (const Hostile& h : all) {
    auto json = llama3();
    json[h.key] = h.value;
    try {
      parse(json);
      ADD_FAILURE() << h.key << " " << h.value << " was accepted";
    } catch (const Error& e) {
      EXPECT_TRUE(e.code == ExitCode::usage || e.code == ExitCode::format);
      EXPECT_THAT(e.what(), HasSubstr(h.message));
      EXPECT_THAT(e.what(), HasSubstr("config.json"));
    }
  }
  EXPECT_THROW(parse_hf_config("[]", "x"), FormatError);
  EXPECT_THROW(parse_hf_config("", "x"), FormatError);
}

TEST(HfConfig, CutAnywhereItLoadsOrThrowsFormatError) {
  const std::string text = kLlama3;
  for (size_t n = 0; n < text.size() - 1; ++n)
    EXPECT_THROW(parse_hf_config(text.substr(0, n), "x"), FormatError) << n;
}

TEST(HfConfig, RefusesToWriteQuantisedTypes) {
  EXPECT_THROW(hf_config_json(named_config("tiny"), DType::q4_0), UsageError);
}

// Widths of the published models: Llama 2 7B, Llama 3 8B and 70B, Llama 3.2 1B.
TEST(MetaParams, MlpWidthsAreThePublishedOnes) {
  EXPECT_EQ(meta_intermediate_size(4096, 256, {}), 11008);
  EXPECT_EQ(meta_intermediate_size(4096, 1024, 1.3), 14336);
  EXPECT_EQ(meta_intermediate_size(8192, 4096, 1.3), 28672);
  EXPECT_EQ(meta_intermediate_size(2048, 256, 1.5), 8192);
}

TEST(MetaParams, ReadsLlama3) {
  const LlamaConfig c = parse_meta_params(
      R"({"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 1024,
          "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0})",
      "params.json");
  LlamaConfig want = named_config("8b");
  want.bos_token_id.reset();
  want.eos_token_ids.clear();
  EXPECT_EQ(c, want);
}

TEST(MetaParams, ReadsTheFixtures) {
  CRIA_NEEDS_FIXTURES();
  const auto path = fixture_path("tiny-llama3/meta-fp32/params.json");
  const LlamaConfig c = parse_meta_params(read_text(path), path);
  const LlamaConfig hf = FixtureModel::load("tiny-llama3", "hf-fp32").config;
  EXPECT_EQ(c.intermediate_size, hf.intermediate_size);
  EXPECT_EQ(c.head_dim, hf.head_dim);
  EXPECT_EQ(c.num_key_value_heads, hf.num_key_value_heads);
}

TEST(MetaParams, AnUnknownVocabularyIsLeftToTheCaller) {
  const auto text =
      R"({"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": -1, "use_scaled_rope": true})";
  const LlamaConfig c = parse_meta_params(text, "p");
  EXPECT_EQ(c.vocab_size, 0);
  EXPECT_EQ(c.num_key_value_heads, 4);
  EXPECT_EQ(c.rope_scaling.kind, RopeScaling::Kind::llama3);
}

TEST(MetaParams, HostileValuesAreRefused) {
  for (const char* text :
       {R"({})", R"({"dim": 0, "n_layers": 2, "n_heads": 4})",
        R"({"dim": 64, "n_layers": 2, "n_heads": 0})",
        R"({"dim": 64, "n_layers": 2, "n_heads": 5})",
        R"({"dim": 64, "n_layers": 2, "n_heads": 4, "multiple_of": 0})",
        R"({"dim": 64, "n_layers": 2, "n_heads": 4, "ffn_dim_multiplier": -1})",
        R"({"dim": 64, "n_layers": 2, "n_heads": 4, "ffn_dim_multiplier": 1e30})",
        R"({"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 0})",
        R"({"dim": 9223372036854775807, "n_layers": 2, "n_heads": 1})"})
    EXPECT_THROW(parse_meta_params(text, "p"), Error) << text;
}

TEST(NamedConfig, ParameterCountsAreThePublishedOnes) {
  EXPECT_EQ(count_parameters(named_config("8b")), 8'030'261'248);
  EXPECT_EQ(count_parameters(named_config("70b")), 70'553'706'496);
  EXPECT_EQ(count_parameters(named_config("1b")), 1'235'814'400);
  EXPECT_EQ(count_parameters(named_config("3b")), 3'212'749'824);
  EXPECT_EQ(count_parameters(named_config("135m")), 134'515'008);
}

TEST(NamedConfig, UnknownNamesListTheKnown) {
  try {
    named_config("9b");
    ADD_FAILURE();
  } catch (const UsageError& e) {
    EXPECT_THAT(e.what(), HasSubstr("8b, 70b, 1b, 3b, 150m, 135m, tiny"));
  }
}

// 2 multiply-adds' FLOPs a weight that is multiplied, and 4 T H D / 2 a layer for the causal half of scores and values.
TEST(Flops, CountTheHeadOnceAndAttentionHalf) {
  const LlamaConfig c = named_config("135m");
  EXPECT_EQ(forward_flops_per_token(c, 512), 2.0 * 134515008 + 2.0 * 30 * 512 * 576);
  const LlamaConfig big = named_config("8b");
  EXPECT_EQ(forward_flops_per_token(big, 1),
            2.0 * (8030261248.0 - 128256.0 * 4096.0) + 2.0 * 32 * 4096);
}

}  // namespace
}  // namespace cria::testing
