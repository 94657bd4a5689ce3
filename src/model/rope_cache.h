// The rope table of a model, made for the positions in use and not for the whole context: Llama 3.1's would take 64 MiB.
#pragma once

#include <optional>

#include "model/config.h"
#include "ops/rope.h"

namespace cria {

class RopeCache {
 public:
  /// `memory`: where tables lie; null: the host's.
  explicit RopeCache(const LlamaConfig& config, Memory* memory = nullptr)
      : config_(config), memory_(memory) {}
  /// The table for positions [0, positions) or more; valid until the next call. Grows by doubling.
  const ops::RopeTable& covering(int64_t positions) {
    if (!table_ || table_->max_positions() < positions) {
      const int64_t doubled = table_ ? 2 * table_->max_positions() : kFirst;
      const int64_t most = std::max(positions, std::min(doubled, config_.max_position_embeddings));
      table_.emplace(config_.head_dim, most, config_.rope_theta, config_.rope_scaling, memory_);
    }
    return *table_;
  }

 private:
  static constexpr int64_t kFirst = 1024;
  LlamaConfig config_;
  Memory* memory_;
  std::optional<ops::RopeTable> table_;
};

}  // namespace cria
