#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace cria {
namespace {

// The scalings that Llama 3.1 and later are published with; a GGUF keeps only the divisors they lead to.
constexpr double kKnownFactors[] = {8, 16, 32};

ops::RopeScaling scaling_from_divisors(const GgufReader& file, const LlamaConfig& config) {
  const auto index = file.find("rope_freqs.weight");
  if (!index) return config.rope_scaling;
  const TensorInfo& info = file.tensors()[*index];
  std::vector<float> found(static_cast<size_t>(config.head_dim / 2));
  require<FormatError>(info.dtype == DType::f32 && info.elements() == config.head_dim / 2,
                       "gguf: {}: rope_freqs.weight has {} elements of {}, expected {} of F32",
                       file.path(), info.elements(), name_of(info.dtype), config.head_dim / 2);
  file.read(*index, 0, std::as_writable_bytes(std::span(found)));
  for (const double factor : kKnownFactors) {
    LlamaConfig candidate = config;
    candidate.rope_scaling = {ops::RopeScaling::Kind::llama3, factor, 1.0, 4.0, 8192};
    const std::vector<float> expected = gguf_rope_divisors(candidate);
    bool equal = true;
    for (size_t i = 0; i < found.size(); ++i)
      equal &= std::abs(found[i] - expected[i]) <= 1e-4f * expected[i];
    if (equal) return candidate.rope_scaling;
  }
  throw FormatError(
      fmt::format("gguf: {}: rope_freqs.weight holds no known scaling, expected Llama 3.1's with "
                  "factor 8, 16 or 32",
                  file.path()));
}

}  // namespace

std::vector<float> gguf_rope_divisors(const LlamaConfig& config) {
  if (config.rope_scaling.kind != ops::RopeScaling::Kind::llama3) return {};
  const auto plain = ops::rope_inverse_frequencies(config.head_dim, config.rope_theta, {});
  const auto scaled =
      ops::rope_inverse_frequencies(config.head_dim, config.rope_theta, config.rope_scaling);
  std::vector<float> divisors;
  for (size_t i = 0; i < plain.size(); ++i)
    divisors.push_back(static_cast<float>(plain[i] / scaled[i]));
  return divisors;
}

LlamaConfig config_from_gguf(const GgufReader& file) {
  const auto missing = [&](std::string_view key) {
    return FormatError(fmt::format("gguf: {}: key \"{}\" is missing", file.path(), key));
  };
  const auto architecture = file.text("general.architecture");
  if (!architecture) throw missing("general.architecture");
  require<FormatError>(*architecture == "llama",
                       "gguf: {}: architecture \"{}\", expected \"llama\"", file.path(),
                       escaped(*architecture));
  const auto uint = [&](std::string_view key) {
    const auto value = file.uint(key);
    if (!value) throw missing(key);
    require<FormatError>(*value <= uint64_t{1} << 40, "gguf: {}: key \"{}\" is {}, out of range",
                         file.path(), key, *value);
    return static_cast<int64_t>(*value);
  };
  LlamaConfig c;
  c.num_hidden_layers = uint("llama.block_count");
  c.hidden_size = uint("llama.embedding_length");
  c.intermediate_size = uint("llama.feed_forward_length");
  c.num_attention_heads = uint("llama.attention.head_count");
  c.num_key_value_heads = file.uint("llama.attention.head_count_kv")
                              ? uint("llama.attention.head_count_kv")
                              : c.num_attention_heads;
  require<FormatError>(c.num_attention_heads > 0, "gguf: {}: llama.attention.head_count is 0",
                       file.path());
  c.head_dim = file.uint("llama.attention.key_length") ? uint("llama.attention.key_length")
                                                       : c.hidden_size / c.num_attention_heads;
  c.max_position_embeddings = uint("llama.context_length");
  c.rms_norm_eps = file.number("llama.attention.layer_norm_rms_epsilon").value_or(1e-5);
  // eps and theta travel as f32: the shortest decimal of that float is what was meant.
  c.rms_norm_eps = std::stod(fmt::format("{}", static_cast<float>(c.rms_norm_eps)));
  c.rope_theta = std::stod(
      fmt::format("{}", static_cast<float>(file.number("llama.rope.freq_base").value_or(10000.0))));
  const auto embedding = file.find("token_embd.weight");
  require<FormatError>(embedding && file.tensors()[*embedding].shape.size() == 2,
                       "gguf: {}: no token_embd.weight of 2 dims", file.path());
  c.vocab_size = file.tensors()[*embedding].shape[0];
  c.tie_word_embeddings = !file.find("output.weight").has_value();
  if (const auto type = file.text("llama.rope.scaling.type"); type && *type == "linear") {
    c.rope_scaling = {ops::RopeScaling::Kind::linear,
                      file.number("llama.rope.scaling.factor").value_or(1.0)};
  } else if (type && *type != "none") {
    throw FormatError(fmt::format("gguf: {}: rope scaling \"{}\", expected none or linear",
                                  file.path(), escaped(*type)));
  }
  validate(c, file.path());
  c.rope_scaling = scaling_from_divisors(file, c);
  const auto token = [&](std::string_view key) -> std::optional<int32_t> {
    const auto value = file.uint(key);
    if (!value || *value >= static_cast<uint64_t>(c.vocab_size)) return std::nullopt;
    return static_cast<int32_t>(*value);
  };
  c.bos_token_id = token("tokenizer.ggml.bos_token_id");
  c.pad_token_id = token("tokenizer.ggml.padding_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    const auto id = token(key);
    if (id &&
        std::find(c.eos_token_ids.begin(), c.eos_token_ids.end(), *id) == c.eos_token_ids.end())
      c.eos_token_ids.push_back(*id);
  }
  return c;
}

uint32_t gguf_file_type(DType mostly) {
  switch (mostly) {
    case DType::f32:
      return 0;
    case DType::f16:
      return 1;
    case DType::q4_0:
      return 2;
    case DType::q4_1:
      return 3;
    case DType::q8_0:
      return 7;
    case DType::q5_0:
      return 8;
    case DType::q5_1:
      return 9;
    case DType::q4_k:
      return 14;  // of llama.cpp's mixtures, "small": nearly all matrices of one type
    case DType::q5_k:
      return 16;
    case DType::q6_k:
      return 18;
    default:
      return 32;  // BF16
  }
}

GgufMetadata gguf_config_metadata(const LlamaConfig& c, DType stored, const std::string& name) {
  const auto u32 = [](int64_t v) { return static_cast<uint32_t>(v); };
  GgufMetadata m = {
      {"general.architecture", std::string("llama")},
      {"general.type", std::string("model")},
      {"general.name", name},
      {"general.file_type", gguf_file_type(stored)},
      {"general.quantization_version", uint32_t{2}},
      {"llama.block_count", u32(c.num_hidden_layers)},
      {"llama.context_length", u32(c.max_position_embeddings)},
      {"llama.embedding_length", u32(c.hidden_size)},
      {"llama.feed_forward_length", u32(c.intermediate_size)},
      {"llama.attention.head_count", u32(c.num_attention_heads)},
      {"llama.attention.head_count_kv", u32(c.num_key_value_heads)},
      {"llama.attention.key_length", u32(c.head_dim)},
      {"llama.attention.value_length", u32(c.head_dim)},
      {"llama.rope.dimension_count", u32(c.head_dim)},
      {"llama.rope.freq_base", static_cast<float>(c.rope_theta)},
      {"llama.attention.layer_norm_rms_epsilon", static_cast<float>(c.rms_norm_eps)},
      {"llama.vocab_size", u32(c.vocab_size)},
  };
  if (c.rope_scaling.kind == ops::RopeScaling::Kind::linear) {
    m.emplace_back("llama.rope.scaling.type", std::string("linear"));
    m.emplace_back("llama.rope.scaling.factor", static_cast<float>(c.rope_scaling.factor));
  }
  require(
      c.rope_scaling.kind != ops::RopeScaling::Kind::dynamic_ntk_theta,
      "gguf: a model with NTK-scaled theta cannot be written; try: the scaled theta as rope_theta");
  return m;
}

}  // namespace cria
