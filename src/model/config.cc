#include "model/config.h"

#include <cmath>

#include "base/error.h"
#include "model/params.h"

namespace cria {
namespace {

void check_range(std::string_view source, const char* name, int64_t value, int64_t most) {
  require(value >= 1 && value <= most, "{}: {} = {}, expected 1 to {}", source, name, value, most);
}

void check_positive(std::string_view source, const char* name, double value) {
  require(std::isfinite(value) && value > 0, "{}: {} = {}, expected a finite number above 0",
          source, name, value);
}

void check_token(std::string_view source, const char* name, int32_t id, int64_t vocab) {
  require(id >= 0 && id < vocab, "{}: {} = {}, expected a token id below vocab_size = {}", source,
          name, id, vocab);
}

void check_scaling(std::string_view source, const ops::RopeScaling& scaling) {
  using Kind = ops::RopeScaling::Kind;
  if (scaling.kind == Kind::none) return;
  check_positive(source, "rope_scaling.factor", scaling.factor);
  if (scaling.kind != Kind::llama3) return;
  check_positive(source, "rope_scaling.low_freq_factor", scaling.low_freq_factor);
  check_positive(source, "rope_scaling.high_freq_factor", scaling.high_freq_factor);
  require(scaling.high_freq_factor > scaling.low_freq_factor,
          "{}: rope_scaling.high_freq_factor = {}, expected more than low_freq_factor = {}", source,
          scaling.high_freq_factor, scaling.low_freq_factor);
  const double original = scaling.original_max_position_embeddings;
  require(original >= 1 && original <= 1 << 24,
          "{}: rope_scaling.original_max_position_embeddings = {}, expected 1 to 2^24", source,
          original);
}

}  // namespace

void validate(const LlamaConfig& c, std::string_view source) {
  constexpr int64_t width = 1 << 20, heads = 4096, large = 1 << 24;
  check_range(source, "num_hidden_layers", c.num_hidden_layers, 1024);
  check_range(source, "hidden_size", c.hidden_size, width);
  check_range(source, "intermediate_size", c.intermediate_size, width);
  check_range(source, "num_attention_heads", c.num_attention_heads, heads);
  check_range(source, "num_key_value_heads", c.num_key_value_heads, heads);
  require(c.num_attention_heads % c.num_key_value_heads == 0,
          "{}: num_key_value_heads = {} does not divide num_attention_heads = {}", source,
          c.num_key_value_heads, c.num_attention_heads);
  check_range(source, "head_dim", c.head_dim, width);
  require(c.head_dim % 2 == 0, "{}: head_dim = {}, expected an even number", source, c.head_dim);
  require(c.num_attention_heads * c.head_dim <= width,
          "{}: num_attention_heads = {} times head_dim = {} is more than {}", source,
          c.num_attention_heads, c.head_dim, width);
  check_range(source, "vocab_size", c.vocab_size, large);
  check_range(source, "max_position_embeddings", c.max_position_embeddings, large);
  check_positive(source, "rms_norm_eps", c.rms_norm_eps);
  check_positive(source, "rope_theta", c.rope_theta);
  check_scaling(source, c.rope_scaling);
  if (c.bos_token_id) check_token(source, "bos_token_id", *c.bos_token_id, c.vocab_size);
  if (c.pad_token_id) check_token(source, "pad_token_id", *c.pad_token_id, c.vocab_size);
  for (const int32_t id : c.eos_token_ids) check_token(source, "eos_token_id", id, c.vocab_size);
}

double forward_flops_per_token(const LlamaConfig& c, int64_t seq_len) {
  // A tied model's table is looked up and multiplied: it counts once, as the head.
  int64_t multiplied = count_parameters(c);
  if (!c.tie_word_embeddings) multiplied -= c.vocab_size * c.hidden_size;
  return 2.0 * static_cast<double>(multiplied) +
         2.0 * static_cast<double>(c.num_hidden_layers * seq_len) *
             static_cast<double>(c.num_attention_heads * c.head_dim);
}

}  // namespace cria
