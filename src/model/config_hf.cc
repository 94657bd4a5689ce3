// Hugging Face's config.json: reading every spelling that LlamaForCausalLM has had, and writing the one all versions load.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/config.h"
#include "model/config_reader.h"

namespace cria {
namespace {

using internal::ConfigReader;
using ops::RopeScaling;

// What LlamaConfig of transformers takes when a key is missing. They differ from Llama 3's own values.
constexpr int64_t kDefaultContext = 2048;
constexpr double kDefaultEps = 1e-6, kDefaultTheta = 10000;

// Settings that change the mathematics and that this program does not have.
void refuse_other_models(const ConfigReader& in, std::string_view path) {
  if (in.text("model_type").value_or("llama") != "llama") in.unsupported("model_type", "\"llama\"");
  if (in.text("hidden_act").value_or("silu") != "silu") in.unsupported("hidden_act", "\"silu\"");
  if (in.boolean("attention_bias").value_or(false)) in.unsupported("attention_bias", "false");
  if (in.boolean("mlp_bias").value_or(false)) in.unsupported("mlp_bias", "false");
  // How such weights are stored is read with them (formats/compressed_config.h).
  if (const Json* const stored = in.find("quantization_config")) {
    const ConfigReader quantization(*stored, path, "quantization_config.");
    if (quantization.text("quant_method").value_or("") != "compressed-tensors")
      quantization.unsupported("quant_method", "\"compressed-tensors\"");
  }
}

RopeScaling parse_scaling(const ConfigReader& in, int64_t context) {
  RopeScaling scaling;
  const char* key = in.has("rope_type") ? "rope_type" : "type";
  const std::string type = in.text(key).value_or("default");
  if (type == "default") return scaling;
  scaling.factor = in.number("factor").value_or(0);
  if (!in.has("factor")) in.fail("factor", "a number");
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
    return scaling;
  }
  if (type != "llama3") in.unsupported(key, "\"default\", \"linear\" or \"llama3\"");
  scaling.kind = RopeScaling::Kind::llama3;
  scaling.low_freq_factor = in.number("low_freq_factor").value_or(scaling.low_freq_factor);
  scaling.high_freq_factor = in.number("high_freq_factor").value_or(scaling.high_freq_factor);
  scaling.original_max_position_embeddings =
      in.number("original_max_position_embeddings").value_or(static_cast<double>(context));
  return scaling;
}

// transformers 5 moved theta into the dictionary and called it rope_parameters.
void parse_rope(const ConfigReader& in, std::string_view path, LlamaConfig& config) {
  config.rope_theta = in.number("rope_theta").value_or(kDefaultTheta);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* object = in.find(key);
    if (!object) continue;
    const ConfigReader rope(*object, path, std::string(key) + ".");
    config.rope_theta = rope.number("rope_theta").value_or(config.rope_theta);
    config.rope_scaling = parse_scaling(rope, config.max_position_embeddings);
    return;
  }
}

// Some older files say -1 for "none".
std::optional<int32_t> optional_token(const ConfigReader& in, const char* key) {
  const auto id = in.integer(key);
  if (!id || *id == -1) return std::nullopt;
  return internal::token_id_of(in, key, *id);
}

std::vector<int32_t> parse_eos(const ConfigReader& in) {
  constexpr const char* key = "eos_token_id";
  const Json* value = in.find(key);
  if (!value || !value->is_array()) {
    const auto id = optional_token(in, key);
    return id ? std::vector{*id} : std::vector<int32_t>{};
  }
  std::vector<int32_t> ids;
  for (const Json& item : *value) {
    if (!item.is_number_integer() || (item.is_number_unsigned() && item.get<uint64_t>() >> 31))
      in.fail(key, "token ids");
    ids.push_back(internal::token_id_of(in, key, item.get<int64_t>()));
  }
  return ids;
}

std::optional<DType> parse_dtype(const ConfigReader& in) {
  const char* key = in.has("torch_dtype") ? "torch_dtype" : "dtype";
  const auto name = in.text(key);
  if (!name || *name == "auto") return std::nullopt;
  if (*name == "float32") return DType::f32;
  if (*name == "float16") return DType::f16;
  if (*name == "bfloat16") return DType::bf16;
  if (*name == "float64") return DType::f64;
  in.unsupported(key, "\"float32\", \"float16\", \"bfloat16\" or \"float64\"");
}

std::string torch_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
    default:
      throw UsageError(
          fmt::format("config.json: weights cannot be stored as {}, expected F32, F16 or BF16",
                      name_of(dtype)));
  }
}

Json scaling_json(const RopeScaling& scaling) {
  switch (scaling.kind) {
    case RopeScaling::Kind::linear:
      return {{"rope_type", "linear"}, {"factor", scaling.factor}};
    case RopeScaling::Kind::llama3:
      return {{"rope_type", "llama3"},
              {"factor", scaling.factor},
              {"low_freq_factor", scaling.low_freq_factor},
              {"high_freq_factor", scaling.high_freq_factor},
              {"original_max_position_embeddings",
               static_cast<int64_t>(scaling.original_max_position_embeddings)}};
    default:
      return nullptr;
  }
}

Json eos_json(const std::vector<int32_t>& ids) {
  if (ids.empty()) return nullptr;
  if (ids.size() == 1) return ids[0];
  return ids;
}

}  // namespace

LlamaConfig parse_hf_config(std::string_view json, std::string_view path) {
  const Json root = parse_json(json, "config", path);
  const ConfigReader in(root, path);
  refuse_other_models(in, path);
  LlamaConfig c;
  c.hidden_size = in.required_integer("hidden_size");
  c.intermediate_size = in.required_integer("intermediate_size");
  c.num_hidden_layers = in.required_integer("num_hidden_layers");
  c.num_attention_heads = in.required_integer("num_attention_heads");
  c.vocab_size = in.required_integer("vocab_size");
  c.num_key_value_heads = in.integer("num_key_value_heads").value_or(c.num_attention_heads);
  if (const auto head_dim = in.integer("head_dim")) {
    c.head_dim = *head_dim;
  } else {
    if (c.num_attention_heads < 1 || c.hidden_size % c.num_attention_heads != 0)
      in.fail("num_attention_heads", "a divisor of hidden_size, where head_dim is not given");
    c.head_dim = c.hidden_size / c.num_attention_heads;
  }
  c.max_position_embeddings = in.integer("max_position_embeddings").value_or(kDefaultContext);
  c.rms_norm_eps = in.number("rms_norm_eps").value_or(kDefaultEps);
  parse_rope(in, path, c);
  c.tie_word_embeddings = in.boolean("tie_word_embeddings").value_or(false);
  c.bos_token_id = optional_token(in, "bos_token_id");
  c.pad_token_id = optional_token(in, "pad_token_id");
  c.eos_token_ids = parse_eos(in);
  c.torch_dtype = parse_dtype(in);
  validate(c, path);
  return c;
}

std::string hf_config_json(const LlamaConfig& c, DType stored) {
  // Hugging Face has no rule that stretches theta itself by a factor; the stretched theta says the same.
  const bool theta_stretched = c.rope_scaling.kind == RopeScaling::Kind::dynamic_ntk_theta;
  const auto token = [](std::optional<int32_t> id) { return id ? Json(*id) : Json(nullptr); };
  const Json json = {
      {"architectures", {"LlamaForCausalLM"}},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"bos_token_id", token(c.bos_token_id)},
      {"eos_token_id", eos_json(c.eos_token_ids)},
      {"head_dim", c.head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", c.hidden_size},
      {"initializer_range", 0.02},
      {"intermediate_size", c.intermediate_size},
      {"max_position_embeddings", c.max_position_embeddings},
      {"mlp_bias", false},
      {"model_type", "llama"},
      {"num_attention_heads", c.num_attention_heads},
      {"num_hidden_layers", c.num_hidden_layers},
      {"num_key_value_heads", c.num_key_value_heads},
      {"pad_token_id", token(c.pad_token_id)},
      {"pretraining_tp", 1},
      {"rms_norm_eps", c.rms_norm_eps},
      {"rope_scaling", scaling_json(c.rope_scaling)},
      {"rope_theta", theta_stretched ? c.rope_theta * c.rope_scaling.factor : c.rope_theta},
      {"tie_word_embeddings", c.tie_word_embeddings},
      {"torch_dtype", torch_name(stored)},
      {"use_cache", true},
      {"vocab_size", c.vocab_size},
  };
  return json.dump(2) + "\n";
}

}  // namespace cria
