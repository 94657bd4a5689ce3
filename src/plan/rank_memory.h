// The memory that one rank of a training run will have taken at its peak, item by item, before anything is allocated. Each item
// is counted by the size functions of what allocates it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "plan/training_run.h"

namespace cria {

struct MemoryItem {
  std::string_view name;
  int64_t bytes = 0;
};

/// Memory that belongs to the process and cannot be dropped: pages of mapped files (weights, records, the program) are not in it.
struct RankMemory {
  int rank = 0;
  std::vector<MemoryItem>
      items;  // weights, exact master, gradients, moments, activations, ...; none is 0
  [[nodiscard]] int64_t total() const;
};

/// Throws UsageError where the rules forbid the layout.
RankMemory rank_memory(const TrainingRun& run, int rank);

/// Ranks of which one has the most memory: of every stage that differs from the others, the first one with that shape, which has
/// the most micro batches under way.
std::vector<int> telling_ranks(const TrainingRun& run);
RankMemory fullest_rank(const TrainingRun& run);

}  // namespace cria
