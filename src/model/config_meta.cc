// Meta's params.json, which lies beside consolidated.*.pth.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/config.h"
#include "model/config_reader.h"

namespace cria {
namespace {

// Meta's model code knows the context only as a flag of the run: Llama 3 was trained for 8192 tokens, and the rope of
// Llama 3.1 and later stretches that sixteen times.
constexpr int64_t kContext = 8192, kScaledContext = 131072;

}  // namespace

int64_t meta_intermediate_size(int64_t hidden, int64_t multiple_of,
                               std::optional<double> multiplier) {
  require(hidden >= 1 && hidden <= int64_t{1} << 20 && multiple_of >= 1 &&
              multiple_of <= int64_t{1} << 20,
          "dim {} and multiple_of {} must lie between 1 and 2^20", hidden, multiple_of);
  require(!multiplier || (std::isfinite(*multiplier) && *multiplier > 0 && *multiplier <= 1024),
          "ffn_dim_multiplier {} must lie between 0 and 1024", multiplier.value_or(0));
  int64_t width = 8 * hidden / 3;
  if (multiplier) width = static_cast<int64_t>(*multiplier * static_cast<double>(width));
  return (width + multiple_of - 1) / multiple_of * multiple_of;
}

LlamaConfig parse_meta_params(std::string_view json, std::string_view path) {
  const Json root = parse_json(json, "params", path);
  const internal::ConfigReader in(root, path);
  LlamaConfig c;
  c.hidden_size = in.required_integer("dim");
  c.num_hidden_layers = in.required_integer("n_layers");
  c.num_attention_heads = in.required_integer("n_heads");
  c.num_key_value_heads = in.integer("n_kv_heads").value_or(c.num_attention_heads);
  c.rms_norm_eps = in.number("norm_eps").value_or(1e-5);
  c.rope_theta = in.number("rope_theta").value_or(10000);
  c.intermediate_size = meta_intermediate_size(
      c.hidden_size, in.integer("multiple_of").value_or(256), in.number("ffn_dim_multiplier"));
  if (c.num_attention_heads < 1 || c.hidden_size % c.num_attention_heads != 0)
    in.fail("n_heads", "a divisor of dim");
  c.head_dim = c.hidden_size / c.num_attention_heads;
  const bool scaled = in.boolean("use_scaled_rope").value_or(false);
  c.max_position_embeddings = scaled ? kScaledContext : kContext;
  if (scaled) {
    c.rope_scaling = {.kind = ops::RopeScaling::Kind::llama3,
                      .factor = in.number("rope_scaling_factor").value_or(8),
                      .low_freq_factor = 1,
                      .high_freq_factor = in.number("rope_high_freq_factor").value_or(4),
                      .original_max_position_embeddings = 8192};
  }
  const int64_t vocab = in.integer("vocab_size").value_or(-1);
  // The bounds of everything else are checked with a vocabulary that passes.
  c.vocab_size = vocab == -1 ? 1 : vocab;
  validate(c, path);
  if (vocab == -1) c.vocab_size = 0;
  return c;
}

}  // namespace cria
