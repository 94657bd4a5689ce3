// What tests of weights share: a small random model, in memory and in files.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "../formats/files.h"
#include "base/thread_pool.h"
#include "checkpoint/convert.h"
#include "checkpoint/weight_source.h"
#include "model/params.h"

namespace cria::test {

inline LlamaConfig small_config(bool tied) {
  LlamaConfig c;
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 16;
  c.vocab_size = 160;
  c.max_position_embeddings = 128;
  c.tie_word_embeddings = tied;
  c.eos_token_ids = {2};
  return c;
}

inline ParamArena random_weights(const LlamaConfig& config, DType dtype, uint64_t seed = 7) {
  ThreadPool pool(1);
  ParamArena weights(config, dtype);
  init_parameters(weights, seed, pool);
  return weights;
}

inline void expect_equal(const ParamArena& a, const ParamArena& b) {
  ASSERT_EQ(a.size_bytes(), b.size_bytes());
  EXPECT_EQ(std::memcmp(a.all().data, b.all().data, a.size_bytes()), 0) << "weights differ";
}

inline ParamArena load_all(const std::string& path, const LlamaConfig& config, DType dtype) {
  ThreadPool pool(2);
  ParamArena weights(config, dtype);
  load_parameters(WeightSource::open(path, config), weights, pool);
  return weights;
}

}  // namespace cria::test
