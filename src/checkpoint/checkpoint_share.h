// What each rank writes of a training checkpoint, and what rank 0 adds when all have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/train_checkpoint.h"

namespace cria {

/// What a rank writes of one group.
struct Share {
  std::string group;
  const ParamArena* arena;
  std::vector<size_t> params;  // of the arena
  std::string file;
};

/// This rank's shares; all ranks ask together, for files are numbered over those that write any.
std::vector<Share> shares_of(const CheckpointContent& content, Groups& groups);
uint64_t bytes_of_shares(const std::vector<Share>& shares);

/// Writes the file of a share and notes its boxes and sums. Throws IoError.
void write_share(const std::string& folder, const Share& share, Manifest& manifest,
                 ThreadPool& pool);

/// Rank 0's part, when everybody's files are there: config, index, and the manifest last.
void write_manifest(const std::string& folder, const LlamaConfig& config,
                    const std::vector<std::string>& parts, const CheckpointContent& content,
                    const RankGrid& grid, int64_t step);

}  // namespace cria
