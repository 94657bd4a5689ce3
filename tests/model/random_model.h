// A small model with random weights and odd sizes, for laws that need no golden data.
#pragma once

#include <vector>

#include "base/random.h"
#include "base/thread_pool.h"
#include "model/fixture_model.h"
#include "model/random_ids.h"

namespace cria::testing {

inline LlamaConfig odd_config(bool tied) {
  LlamaConfig c;
  c.hidden_size = 20;  // differs from heads * head_dim
  c.intermediate_size = 29;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 6;
  c.vocab_size = 37;
  c.max_position_embeddings = 1500;
  c.tie_word_embeddings = tied;
  return c;
}

/// Whose matrices blocks of 32 divide.
inline LlamaConfig block_config(bool tied) {
  LlamaConfig c = odd_config(tied);
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.num_attention_heads = 8;
  c.num_key_value_heads = 2;
  c.head_dim = 12;
  return c;
}

/// Weights large enough for logits that differ and gradients that do not vanish.
inline ParamArena random_weights(const LlamaConfig& config, DType dtype, ThreadPool& pool) {
  ParamArena exact(config, DType::f32);
  init_parameters(exact, 7, pool);
  for (int64_t i = 0; i < std::ssize(exact.params()); ++i) {
    const View all = exact[i];
    auto* p = static_cast<float*>(all.data);
    for (int64_t e = 0; e < all.elements(); ++e) {
      const auto noise =
          static_cast<float>(random_normal(8, static_cast<uint64_t>(i), static_cast<uint64_t>(e)));
      p[e] = exact.params()[static_cast<size_t>(i)].is_norm() ? 1.0f + 0.2f * noise : 30.0f * p[e];
    }
  }
  if (dtype == DType::f32) return exact;
  ParamArena weights(config, dtype);
  const auto* from = static_cast<const float*>(exact.all().data);
  auto* to = static_cast<bf16*>(weights.all().data);
  for (int64_t e = 0; e < exact.all().elements(); ++e) to[e] = bf16(from[e]);
  return weights;
}

/// Documents of the given lengths; about a third of the targets untrained.
inline OwnedBatch random_batch(std::initializer_list<int64_t> lengths, int64_t vocab,
                               uint64_t seed) {
  OwnedBatch batch;
  for (const int64_t length : lengths) {
    const auto ids = random_ids(length, vocab, seed);
    auto next = random_ids(length, vocab, seed + 1);
    for (size_t t = 0; t < next.size(); ++t)
      if (random_bits(seed, 2, t) % 3 == 0) next[t] = -100;
    batch.add_document(ids, next);
    seed += 2;
  }
  return batch;
}

}  // namespace cria::testing
