#include "recipe/model_setup.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "recipe/names.h"
#include "recipe/own_layout.h"
#include "tokenizer/load.h"

namespace cria::recipe {
namespace {

// MindFormers' own rule, fudge and order included.
int64_t mlp_width(const ModelSettings& m, int64_t hidden) {
  int64_t width = 4 * hidden;
  if (m.ffn_dim_multiplier) {
    require(*m.ffn_dim_multiplier > 0 && *m.ffn_dim_multiplier < 1000,
            "config: model_config.ffn_dim_multiplier is {}, expected above 0",
            *m.ffn_dim_multiplier);
    width = static_cast<int64_t>((*m.ffn_dim_multiplier + 0.01) * static_cast<double>(width));
  }
  width = 2 * width / 3;
  const int64_t unit = m.multiple_of.value_or(256);
  return (width + unit - 1) / unit * unit;
}

LlamaConfig config_of_settings(const ModelSettings& m) {
  LlamaConfig c;
  c.hidden_size = m.hidden_size.value_or(4096);
  c.num_hidden_layers = m.num_layers.value_or(32);
  c.num_attention_heads = m.num_heads.value_or(32);
  c.num_key_value_heads = m.n_kv_heads.value_or(c.num_attention_heads);
  c.head_dim = c.hidden_size / std::max<int64_t>(1, c.num_attention_heads);
  c.intermediate_size = m.intermediate_size ? *m.intermediate_size : mlp_width(m, c.hidden_size);
  c.vocab_size = m.vocab_size.value_or(32000);
  c.max_position_embeddings = std::max(m.max_position_embedding.value_or(0), m.seq_length);
  c.rms_norm_eps = m.rms_norm_eps.value_or(1e-5);
  c.rope_theta = m.theta.value_or(10000);
  c.tie_word_embeddings = m.tied.value_or(false);
  c.bos_token_id = m.bos;
  c.pad_token_id = m.pad;
  c.eos_token_ids = m.eos;
  return c;
}

void set_scaling(const ModelSettings& m, LlamaConfig& c) {
  if (m.extend_method == "None") return;
  using Kind = ops::RopeScaling::Kind;
  const ops::RopeScaling wanted{
      .kind = m.extend_method == "PI" ? Kind::linear : Kind::dynamic_ntk_theta,
      .factor = m.scaling_factor};
  require<MismatchError>(c.rope_scaling.kind == Kind::none || c.rope_scaling == wanted,
                         "config: model_config.extend_method is {}, but the weights stretch their "
                         "wave lengths another way",
                         m.extend_method);
  c.rope_scaling = wanted;
}

void agree(const std::string& path, const char* key, double yaml, double own) {
  // GGUF keeps f32.
  const bool same = std::abs(yaml - own) <= 1e-6 * std::abs(own);
  require<MismatchError>(same, "config: {}: model_config.{} is {}, but the weights have {}", path,
                         key, yaml, own);
}

void check_agreement(const ModelSettings& m, const LlamaConfig& own, const std::string& path) {
  const auto integer = [&](const char* key, const std::optional<int64_t>& yaml, int64_t value) {
    if (yaml) agree(path, key, static_cast<double>(*yaml), static_cast<double>(value));
  };
  integer("hidden_size", m.hidden_size, own.hidden_size);
  integer("num_layers", m.num_layers, own.num_hidden_layers);
  integer("num_heads", m.num_heads, own.num_attention_heads);
  integer("n_kv_heads", m.n_kv_heads, own.num_key_value_heads);
  integer("vocab_size", m.vocab_size, own.vocab_size);
  if (m.intermediate_size || m.ffn_dim_multiplier || m.multiple_of)
    integer("intermediate_size",
            m.intermediate_size ? m.intermediate_size : mlp_width(m, own.hidden_size),
            own.intermediate_size);
  if (m.rms_norm_eps) agree(path, "rms_norm_eps", *m.rms_norm_eps, own.rms_norm_eps);
  if (m.theta) agree(path, "theta", *m.theta, own.rope_theta);
  if (m.tied) agree(path, "tie_word_embeddings", *m.tied, own.tie_word_embeddings);
}

/// The first tensor that is not of the model's shape when the slices are joined.
std::string cut_otherwise(const WeightSource& slices, LlamaConfig config) {
  config.tie_word_embeddings = false;  // files of tied models have a head too
  for (const Param& p : llama_params(config)) {
    const auto index = slices.find(p.name);
    if (index && slices.tensors()[*index].shape != p.shape) return p.name;
  }
  return "";
}

/// Slices of ranks whose layout was this run's.
WeightSource open_own_slices(const RecipeSettings& s, const LlamaConfig& given) {
  const auto open = [&](const LlamaConfig& config) {
    return WeightSource::open_slices(s.load_checkpoint, strategy_of_run(s, config), given);
  };
  WeightSource slices = open(given);
  const std::string other = cut_otherwise(slices, given);
  if (other.empty()) return slices;
  if (!s.model.tied) {
    // A table that is the head too is not cut as a head of its own.
    LlamaConfig tied = given;
    tied.tie_word_embeddings = true;
    WeightSource of_tied = open(tied);
    if (cut_otherwise(of_tied, given).empty()) return of_tied;
  }
  throw MismatchError(fmt::format(
      "weights: {}: \"{}\" is cut in another way than this run's layout; try: --src_strategy with "
      "the strategy files of the ranks that saved it",
      slices.path(), other));
}

}  // namespace

std::optional<WeightSource> open_weights(const RecipeSettings& s) {
  if (s.load_checkpoint.empty()) {
    require(!s.auto_trans, "config: auto_trans_ckpt is True, but load_checkpoint is empty");
    return std::nullopt;
  }
  LlamaConfig given = config_of_settings(s.model);
  validate(given, "config: model_config");
  const int64_t ranks = s.parallel.dp * s.parallel.tp * s.parallel.pp;
  const bool ranked = is_folder(join_path(s.load_checkpoint, "rank_0"));
  Strategy strategy = read_strategy(s.src_strategy);
  if (ranked && !strategy.full)
    return WeightSource::open_slices(s.load_checkpoint, std::move(strategy), given);
  require<MismatchError>(strategy.ranks() == 1,
                         "weights: {}: no folder rank_0, but src_strategy_path_or_dir has {} "
                         "ranks; try: the folder that holds rank_0, rank_1, ...",
                         s.load_checkpoint, strategy.ranks());
  const bool sliced = is_folder(join_path(s.load_checkpoint, "rank_1"));
  if (!sliced || ranks == 1) return WeightSource::open(s.load_checkpoint, given);
  return open_own_slices(s, given);
}

LlamaConfig model_config(const RecipeSettings& s, const WeightSource* weights) {
  LlamaConfig c = config_of_settings(s.model);
  if (weights != nullptr && weights->config_is_own()) {
    const LlamaConfig& own = weights->config();
    check_agreement(s.model, own, weights->path());
    c = own;
    c.max_position_embeddings = std::max({own.max_position_embeddings, s.model.seq_length,
                                          s.model.max_position_embedding.value_or(0)});
    if (s.model.bos) c.bos_token_id = s.model.bos;
    if (s.model.pad) c.pad_token_id = s.model.pad;
    if (!s.model.eos.empty()) c.eos_token_ids = s.model.eos;
  } else if (weights != nullptr && !s.model.tied) {
    c.tie_word_embeddings = looks_tied(*weights);
  }
  set_scaling(s.model, c);
  validate(c, "config: model_config");
  const auto inside = [&](const char* name, int32_t id) {
    require(id < c.vocab_size, "config: model_config.{} is {}, but the vocabulary has {} tokens",
            name, id, c.vocab_size);
  };
  if (s.model.bos) inside("bos_token_id", *s.model.bos);
  if (s.model.pad) inside("pad_token_id", *s.model.pad);
  for (const int32_t id : s.model.eos) inside("eos_token_id", id);
  return c;
}

std::string given_vocab_file(const RecipeSettings& s) {
  return s.vocab_file == kPlaceholderVocab ? "" : s.vocab_file;
}

std::unique_ptr<Tokenizer> open_tokenizer(const RecipeSettings& s, const WeightSource* weights) {
  auto vocabulary =
      find_vocabulary(weights != nullptr ? weights->tokenizer_path() : "", given_vocab_file(s));
  return vocabulary ? std::make_unique<Tokenizer>(*std::move(vocabulary)) : nullptr;
}

}  // namespace cria::recipe
