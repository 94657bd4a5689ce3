// Generation by several ranks as threads: what tests of it share.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "comm/groups.h"
#include "formats/quantise.h"
#include "generate/generator.h"
#include "model/model_part.h"
#include "model/packed_weights.h"
#include "model/random_ids.h"

namespace cria {

inline LlamaConfig config_of(bool tied, int64_t vocab) {
  LlamaConfig c;
  c.hidden_size = 32;
  c.intermediate_size = 48;
  c.num_hidden_layers = 4;
  c.num_attention_heads = 8;
  c.num_key_value_heads = 4;
  c.head_dim = 4;
  c.vocab_size = vocab;
  c.max_position_embeddings = 1200;
  c.tie_word_embeddings = tied;
  return c;
}

/// The slices of weights large enough for logits that differ.
inline ParamArena slices(const LlamaConfig& config, const ModelPart& part, ThreadPool& pool) {
  ParamArena weights(config, DType::f32, part);
  init_parameters(weights, 7, pool);
  for (int64_t i = 0; i < std::ssize(weights.params()); ++i) {
    if (weights.params()[static_cast<size_t>(i)].is_norm()) continue;
    auto* const p = static_cast<float*>(weights[i].data);
    for (int64_t e = 0; e < weights[i].elements(); ++e) p[e] *= 20;
  }
  return weights;
}

using Rows = std::vector<std::vector<int32_t>>;

inline Rows ids_of(const std::vector<Generated>& all) {
  Rows rows;
  for (const Generated& g : all) rows.push_back(g.ids);
  return rows;
}

struct Case {
  std::string name;
  int tp = 1;
  bool tied = false, vocab_split = false;
  int64_t vocab = 64;
  std::vector<std::vector<int64_t>> stages = {{0, 1, 2, 3}};
  std::optional<DType> packed = {};  // of all matrices, in a model wide enough for blocks
  [[nodiscard]] bool blocks() const { return packed && is_quantised(*packed); }
  /// Beside blocks a sum in another order rounds some number of an x to its neighbour, 1 / 127 of its group's largest away, and what
  /// follows differs by as much. Within a short text of these models that is rare.
  [[nodiscard]] int64_t long_prompt() const { return blocks() ? 40 : 700; }
  [[nodiscard]] int pp() const { return static_cast<int>(stages.size()); }
  /// The model on one rank.
  [[nodiscard]] Case alone() const {
    return {.name = "one", .tied = tied, .vocab = vocab, .packed = packed};
  }
};

inline LlamaConfig config_of(const Case& c) {
  LlamaConfig config = config_of(c.tied, c.vocab);
  if (c.packed) {
    config.hidden_size = 64;
    config.intermediate_size = 128;
    config.head_dim = 16;
  }
  return config;
}

inline ModelPart part_of(const Case& c, const RankGrid& grid) {
  return {.layers = c.stages[static_cast<size_t>(grid.stage())],
          .embedding = grid.first_stage(),
          .head = grid.last_stage(),
          .tp = c.tp,
          .tp_index = grid.tp_index(),
          .vocab_split = c.vocab_split};
}

/// Weights rounded to a type, packed.
inline PackedWeights packed(const ParamArena& weights, DType type) {
  std::vector<DType> types;
  for (const Param& p : weights.params()) types.push_back(p.is_norm() ? DType::f32 : type);
  PackedWeights out(weights.config(), weights.part(), types);
  for (int64_t i = 0; i < std::ssize(types); ++i) {
    const Param& p = weights.params()[static_cast<size_t>(i)];
    std::vector<std::byte> bytes(
        static_cast<size_t>(bytes_of(types[static_cast<size_t>(i)], p.cols())));
    for (int64_t r = 0; r < p.rows(); ++r) {
      const auto row = weights[i].row<float>(r);
      if (p.is_norm()) {
        std::memcpy(bytes.data(), row.data(), bytes.size());
      } else if (type == DType::bf16) {
        for (size_t k = 0; k < row.size(); ++k) {
          const bf16 number(row[k]);
          std::memcpy(&bytes[2 * k], &number, 2);
        }
      } else {
        quantise(type, row, bytes);
      }
      out.put_rows(i, r, bytes);
    }
  }
  return out;
}

/// Calls body(decoder, groups) on every rank, as a thread.
template <class Body>
void on_ranks(const Case& c, const Body& body) {
  const int ranks = c.tp * c.pp();
  run_as_threads(ranks, [&](Transport& transport) {
    Groups groups(transport, make_grid(1, c.tp, c.pp(), ranks, transport.rank()),
                  {.deadline = std::chrono::seconds(60), .checked = true});
    ThreadPool pool(1);
    ops::Exec exec{pool};
    const LlamaConfig config = config_of(c);
    const ParamArena plain = slices(config, part_of(c, groups.grid), pool);
    if (!c.packed) {
      Decoder decoder(config, plain, DType::f32, exec, &groups);
      return body(decoder, groups);
    }
    const PackedWeights weights = packed(plain, *c.packed);
    Decoder decoder(weights, DType::f32, exec, &groups);
    body(decoder, groups);
  });
}

/// What each rank returns.
inline std::vector<Rows> generate_on(const Case& c, const Rows& prompts,
                                     const GenerateSettings& settings) {
  std::vector<Rows> out(static_cast<size_t>(c.tp * c.pp()));
  on_ranks(c, [&](Decoder& decoder, Groups& groups) {
    GenerateSettings mine = settings;
    mine.groups = &groups;
    out[static_cast<size_t>(groups.grid.rank)] = ids_of(generate(decoder, prompts, mine));
  });
  return out;
}

}  // namespace cria
