// Ranks of several layouts and what each holds of a small model, with contents that are a function of a seed.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "base/random.h"
#include "checkpoint/manifest.h"
#include "checkpoint/train_checkpoint.h"
#include "comm/rank_grid.h"
#include "model/params.h"
#include "weights_testing.h"

namespace cria::test {

/// 6 heads and 6 KV heads, so that 2 and 3 ranks of tensor parallelism divide them.
inline LlamaConfig rig_config(bool tied) {
  LlamaConfig c = small_config(tied);
  c.hidden_size = 48;
  c.num_attention_heads = 6;
  c.num_key_value_heads = 6;
  c.head_dim = 8;
  c.intermediate_size = 72;
  c.num_hidden_layers = 4;
  c.vocab_size = 132;
  return c;
}

struct Layout {
  std::string name;
  int dp = 1, tp = 1, pp = 1;
  bool shard = false, vocab_split = false;
  int zero = 1;   // OptimizerShard::zero
  int group = 0;  // RankGrid::shard
  std::vector<std::vector<int64_t>> stages = {{0, 1, 2, 3}};
  [[nodiscard]] int ranks() const { return dp * tp * pp; }
};

inline const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {
      {.name = "one"},
      {.name = "dp2", .dp = 2},
      {.name = "dp2_shard", .dp = 2, .shard = true},
      {.name = "dp4_shard", .dp = 4, .shard = true},
      {.name = "tp2", .tp = 2},
      {.name = "tp3_vocab", .tp = 3, .vocab_split = true},
      {.name = "pp2", .pp = 2, .stages = {{0}, {1, 2, 3}}},
      {.name = "pp2_interleaved", .pp = 2, .stages = {{0, 2}, {1, 3}}},
      {.name = "pp3_tp2_vocab",
       .tp = 2,
       .pp = 3,
       .vocab_split = true,
       .stages = {{0}, {1, 2}, {3}}},
      {.name = "dp2_tp2_shard", .dp = 2, .tp = 2, .shard = true},
      {.name = "dp3_tp2_pp2_shard_vocab",
       .dp = 3,
       .tp = 2,
       .pp = 2,
       .shard = true,
       .vocab_split = true,
       .stages = {{0, 1}, {2, 3}}},
      {.name = "dp2_zero3", .dp = 2, .shard = true, .zero = 3},
      {.name = "dp4_groups_of_2", .dp = 4, .shard = true, .group = 2},
      {.name = "dp4_tp2_groups_of_2_zero3", .dp = 4, .tp = 2, .shard = true, .zero = 3, .group = 2},
  };
  return all;
}

inline RankGrid grid_of(const Layout& l, int rank) {
  return make_grid(l.dp, l.tp, l.pp, l.ranks(), rank, l.group);
}

/// What one rank of a layout has; filled from whole tensors that are functions of a seed.
struct RankState {
  RankState(const LlamaConfig& config, const Layout& layout, const RankGrid& grid)
      : weights(config, DType::bf16, part(layout, grid), shard(layout, grid).of_weights()),
        m(config, DType::f32, part(layout, grid), shard(layout, grid)),
        low(config, DType::i16, part(layout, grid), shard(layout, grid)) {}

  static ModelPart part(const Layout& layout, const RankGrid& grid) {
    ModelPart p;
    p.layers = layout.stages[static_cast<size_t>(grid.stage())];
    p.embedding = grid.first_stage();
    p.head = grid.last_stage();
    p.tp = grid.tp;
    p.tp_index = grid.tp_index();
    p.vocab_split = layout.vocab_split;
    return p;
  }
  static OptimizerShard shard(const Layout& layout, const RankGrid& grid) {
    if (!layout.shard) return {};
    return {.count = grid.shard_size(),
            .index = grid.shard_index(),
            .threshold_bytes = 1024,
            .zero = layout.zero};
  }
  CheckpointContent content() {
    return {{{"weights", &weights}, {"adam_m", &m}, {"master_lo", &low}}, R"({"batches_done":7})"};
  }

  ParamArena weights, m, low;
};

/// A number for each element of a model's tensor that its bytes are made of.
inline uint32_t mark(uint64_t seed, const Param& p, int64_t row, int64_t col) {
  const auto element = static_cast<uint64_t>(row * p.shape.back() + col);
  return static_cast<uint32_t>(random_bits(seed, static_cast<uint64_t>(p.number), element));
}

/// Calls use(bytes of the element, its mark) for every element of the arena.
template <class Arena, class Use>
void each_element(Arena& arena, uint64_t seed, const Use& use) {
  for (size_t i = 0; i < arena.params().size(); ++i) {
    const Param& p = arena.params()[i];
    const auto view = arena[static_cast<int64_t>(i)];
    const Rect box = rect_of(p.begin, p.size);
    for (int64_t r = 0; r < box.rows; ++r)
      for (int64_t c = 0; c < box.cols; ++c)
        use(view.at(r, c), mark(seed, p, box.row + r, box.col + c));
  }
}

inline void fill(ParamArena& arena, uint64_t seed) {
  const auto size = static_cast<size_t>(bytes_of(arena.dtype(), 1));
  each_element(arena, seed, [&](void* at, uint32_t value) { std::memcpy(at, &value, size); });
}

inline int64_t count_wrong(const ParamArena& arena, uint64_t seed) {
  const auto size = static_cast<size_t>(bytes_of(arena.dtype(), 1));
  int64_t wrong = 0;
  each_element(arena, seed, [&](const void* at, uint32_t value) {
    if (std::memcmp(at, &value, size) != 0) ++wrong;
  });
  return wrong;
}

}  // namespace cria::test
