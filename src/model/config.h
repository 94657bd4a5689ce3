// What shape of Llama a model is. The names are Hugging Face's config.json; other dialects are translated at the edge.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/rope.h"
#include "tensor/dtype.h"

namespace cria {

struct LlamaConfig {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 8192;
  double rms_norm_eps = 1e-5;
  double rope_theta = 500000;
  ops::RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  std::optional<int32_t> bos_token_id, pad_token_id;
  std::vector<int32_t> eos_token_ids;  // any of them ends a reply
  std::optional<DType> torch_dtype;    // what the weights say they are stored in

  bool operator==(const LlamaConfig&) const = default;
};

/// Checks every number by docs/formats/README.md's bounds (layers 1-1024, hidden 1-2^20, heads 1-4096, KV heads
/// divide heads, vocabulary and context 1-2^24, eps and theta finite and positive, head_dim even).
/// `source` names the file or flag set in the message. Throws UsageError.
void validate(const LlamaConfig& config, std::string_view source);

/// A Hugging Face config.json (`path` for messages). Old and new spellings: rope_scaling {type|rope_type}, rope_parameters,
/// eos_token_id as number or list, torch_dtype|dtype. Throws FormatError or UsageError.
LlamaConfig parse_hf_config(std::string_view json, std::string_view path);
/// Meta's params.json (dim, n_layers, n_heads, n_kv_heads, vocab_size, multiple_of, ffn_dim_multiplier, norm_eps, rope_theta,
/// use_scaled_rope). vocab_size -1 or absent: the caller fills it from the embedding.
LlamaConfig parse_meta_params(std::string_view json, std::string_view path);
/// config.json text that transformers loads as LlamaForCausalLM.
std::string hf_config_json(const LlamaConfig& config, DType stored);

/// Meta's MLP width: int(2/3 * 4 * hidden), times multiplier, rounded up to multiple_of.
int64_t meta_intermediate_size(int64_t hidden, int64_t multiple_of,
                               std::optional<double> multiplier);

/// Well-known shapes for `--random`: 8b, 70b, 1b (Llama 3.2 1B), 3b, 150m, 135m (SmolLM2), tiny. Throws UsageError listing them.
LlamaConfig named_config(std::string_view name);

/// Forward FLOPs of one token at sequence length T, counted as 2 per multiply-add: 2 * (parameters without the input
/// embedding) + 2 * layers * T * heads * head_dim (causal). Training is three times that.
double forward_flops_per_token(const LlamaConfig& config, int64_t seq_len);

}  // namespace cria
