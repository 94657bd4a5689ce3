#include "measure/counts.h"

#include "model/llama.h"

namespace cria {

double training_flops(const LlamaConfig& config, int64_t samples, int64_t seq_len) {
  return 3 * forward_flops_per_token(config, seq_len) * static_cast<double>(samples * seq_len);
}

double prefill_flops(const LlamaConfig& config, int64_t tokens) {
  const double head = 2.0 * static_cast<double>(config.vocab_size * config.hidden_size);
  return forward_flops_per_token(config, tokens) * static_cast<double>(tokens) -
         head * static_cast<double>(tokens - 1);
}

int64_t weight_bytes(const Param& param, DType dtype) {
  const DType held = param.is_norm() && is_quantised(dtype) ? DType::f32 : dtype;
  return bytes_of(held, param.elements());
}

int64_t decode_weight_bytes(const LlamaConfig& config, DType dtype, int64_t sequences) {
  int64_t bytes = 0;
  const std::vector<Param> params = llama_params(config);
  for (const Param& p : params) bytes += weight_bytes(p, dtype);
  if (config.tie_word_embeddings) return bytes;
  const Param& table = params[0];
  return bytes - weight_bytes(table, dtype) +
         sequences * (weight_bytes(table, dtype) / table.rows());
}

int64_t cache_bytes(const LlamaConfig& config, DType dtype, int64_t tokens) {
  return tokens * KvCache::token_bytes(config, dtype);
}

double decode_bytes(const LlamaConfig& config, DType weights, DType cache, int64_t sequences,
                    int64_t depth, int64_t steps) {
  const int64_t seen = steps * depth + steps * (steps + 1) / 2;
  return static_cast<double>(steps * decode_weight_bytes(config, weights, sequences)) +
         static_cast<double>(sequences) * static_cast<double>(cache_bytes(config, cache, 1)) *
             static_cast<double>(seen);
}

}  // namespace cria
