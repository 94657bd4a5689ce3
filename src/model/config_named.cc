// Shapes people ask for by name.
#include <array>
#include <utility>

#include "base/error.h"
#include "model/config.h"

namespace cria {
namespace {

LlamaConfig llama3(int64_t hidden, int64_t intermediate, int64_t layers, int64_t heads) {
  return {.hidden_size = hidden,
          .intermediate_size = intermediate,
          .num_hidden_layers = layers,
          .num_attention_heads = heads,
          .num_key_value_heads = 8,
          .head_dim = hidden / heads,
          .vocab_size = 128256,
          .bos_token_id = 128000,
          .eos_token_ids = {128001}};
}

// Llama 3.2: tied embeddings and a context of 131072 tokens by stretching 8192.
LlamaConfig llama32(int64_t hidden, int64_t layers, int64_t heads) {
  LlamaConfig c = llama3(hidden, 8192, layers, heads);
  c.max_position_embeddings = 131072;
  c.rope_scaling = {.kind = ops::RopeScaling::Kind::llama3, .factor = 32};
  c.tie_word_embeddings = true;
  return c;
}

LlamaConfig small(int64_t hidden, int64_t intermediate, int64_t layers, int64_t heads,
                  int64_t kv_heads, int64_t vocab) {
  return {.hidden_size = hidden,
          .intermediate_size = intermediate,
          .num_hidden_layers = layers,
          .num_attention_heads = heads,
          .num_key_value_heads = kv_heads,
          .head_dim = hidden / heads,
          .vocab_size = vocab};
}

// SmolLM2-135M, and a shape of our own between it and 1b.
LlamaConfig tied_49k(LlamaConfig c) {
  c.rope_theta = 100000;
  c.tie_word_embeddings = true;
  c.bos_token_id = 1;
  c.eos_token_ids = {2};
  c.pad_token_id = 2;
  return c;
}

}  // namespace

LlamaConfig named_config(std::string_view name) {
  const std::array<std::pair<std::string_view, LlamaConfig>, 7> shapes = {{
      {"8b", llama3(4096, 14336, 32, 32)},
      {"70b", llama3(8192, 28672, 80, 64)},
      {"1b", llama32(2048, 16, 32)},
      {"3b", llama32(3072, 28, 24)},
      {"150m", tied_49k(small(768, 3072, 13, 12, 4, 49152))},
      {"135m", tied_49k(small(576, 1536, 30, 9, 3, 49152))},
      {"tiny", small(64, 192, 2, 4, 2, 512)},
  }};
  std::string names;
  for (const auto& [known, config] : shapes) {
    if (known == name) return config;
    names += names.empty() ? "" : ", ";
    names += known;
  }
  throw UsageError(
      fmt::format("no model shape is called \"{}\"; use one of {}", escaped(name), names));
}

}  // namespace cria
