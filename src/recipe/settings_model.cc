// model.model_config, the processor, and what generation is to do.
#include "base/error.h"
#include "checkpoint/convert.h"
#include "recipe/settings.h"

namespace cria::recipe {
namespace {

constexpr int64_t kMaxToken = 1 << 24;

std::string in_model(const char* key) { return fmt::format("model.model_config.{}", key); }

void read_shape(const Values& v, ModelSettings& m) {
  const auto integer = [&](const char* key) { return v.integer(in_model(key), 1, kMaxToken); };
  m.hidden_size = integer("hidden_size");
  m.intermediate_size = integer("intermediate_size");
  m.num_layers = integer("num_layers");
  m.num_heads = integer("num_heads");
  m.n_kv_heads = integer("n_kv_heads");
  m.vocab_size = integer("vocab_size");
  m.max_position_embedding = integer("max_position_embedding");
  m.multiple_of = integer("multiple_of");
  m.seq_length = integer("seq_length").value_or(2048);
  m.batch_size = v.integer(in_model("batch_size"), 1, 1 << 16).value_or(1);
  m.ffn_dim_multiplier = v.number(in_model("ffn_dim_multiplier"));
  m.rms_norm_eps = v.number(in_model("rms_norm_eps"));
  m.theta = v.number(in_model("theta"));
  m.tied = v.boolean(in_model("tie_word_embeddings"));
  m.extend_method = v.text(in_model("extend_method")).value_or("None");
  m.scaling_factor = v.number(in_model("scaling_factor")).value_or(1);
  require(m.scaling_factor > 0, "config: model_config.scaling_factor is {}, expected above 0",
          m.scaling_factor);
  for (const char* key : {"qkv_has_bias", "qkv_concat"})
    require(!v.boolean(in_model(key)).value_or(false), "config: model_config.{}: only False", key);
}

std::optional<int32_t> token(const Values& v, const char* key) {
  const auto id = v.integer(in_model(key), 0, kMaxToken);
  if (!id) return std::nullopt;
  return static_cast<int32_t>(*id);
}

void read_tokens(const Values& v, ModelSettings& m) {
  m.bos = token(v, "bos_token_id");
  m.pad = token(v, "pad_token_id");
  const YamlNode* eos = v.node(in_model("eos_token_id"));
  if (eos == nullptr) return;
  const std::vector<YamlNode> one = {*eos};
  for (const YamlNode& n : eos->kind == YamlNode::Kind::list ? eos->items : one) {
    require(n.kind == YamlNode::Kind::integer && n.integer >= 0 && n.integer <= kMaxToken,
            "config: model_config.eos_token_id: expected a token id or a list of them");
    m.eos.push_back(static_cast<int32_t>(n.integer));
  }
}

void read_dtypes(const Values& v, RecipeSettings& s) {
  const auto dtype = [&](const char* key) {
    return parse_dtype(v.text(in_model(key)).value_or("float16"), in_model(key));
  };
  s.model.param = dtype("param_init_type");
  s.model.compute = dtype("compute_dtype");
  for (const char* key : {"layernorm_compute_type", "softmax_compute_type", "rotary_dtype"})
    if (v.text(in_model(key)).value_or("float32") != "float32")
      s.notes.push_back(fmt::format("model_config.{}: computed in float32", key));
  const std::string param = v.text(in_model("param_init_type")).value_or("float16");
  if (v.text(in_model("embedding_init_type")).value_or(param) != param)
    s.notes.push_back(
        fmt::format("model_config.embedding_init_type: the embedding is stored in {}", param));
}

void read_generation(const Values& v, PredictSettings& p) {
  const auto count = [&](const char* key) { return v.integer(in_model(key), 0, kMaxToken); };
  SamplingSettings& g = p.sampling;
  p.max_length = count("max_length");
  if (!p.max_length) p.max_length = count("max_decode_length").value_or(1024);
  p.max_new_tokens = count("max_new_tokens");
  p.min_length = count("min_length").value_or(0);
  g.min_new_tokens = count("min_new_tokens").value_or(0);
  g.do_sample = v.boolean(in_model("do_sample")).value_or(true);
  g.temperature = v.number(in_model("temperature")).value_or(1);
  g.top_k = v.integer("top_k", 0, kMaxToken).value_or(count("top_k").value_or(5));
  g.top_p = v.number(in_model("top_p")).value_or(1);
  g.repetition_penalty = v.number(in_model("repetition_penalty")).value_or(1);
  check_sampling(g);
  require(v.integer(in_model("num_beams"), 1, 1).value_or(1) == 1, "config: only one beam");
}

void read_prompts(const Values& v, PredictSettings& p) {
  p.save_file = v.text("save_file").value_or(p.save_file);
  const YamlNode* input = v.node("input_data");
  if (input == nullptr) return;
  if (input->kind != YamlNode::Kind::list) return p.prompts.push_back(input->text);
  for (const YamlNode& n : input->items) p.prompts.push_back(n.text);
}

}  // namespace

void read_model_settings(const YamlNode& root, RecipeSettings& s) {
  const Values v(root);
  read_shape(v, s.model);
  read_tokens(v, s.model);
  read_dtypes(v, s);
  read_generation(v, s.predict);
  s.predict.sampling.seed = s.seed;
  read_prompts(v, s.predict);
  s.vocab_file = v.text("processor.tokenizer.vocab_file").value_or("");
  if (s.vocab_file.empty())
    s.vocab_file = v.text("processor.tokenizer.tokenizer_file").value_or("");
  s.predict.add_bos = v.boolean("processor.tokenizer.add_bos_token");
  require(!v.boolean("processor.tokenizer.add_eos_token").value_or(false),
          "config: processor.tokenizer.add_eos_token: only False, a prompt is to be continued");
  if (s.load_checkpoint.empty())
    s.load_checkpoint = v.text(in_model("checkpoint_name_or_path")).value_or("");
}

}  // namespace cria::recipe
