// What each rank writes of a training checkpoint, and what rank 0 adds when all have.
#pragma once

#include <cstdint>
#include <span>
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

/// The one file of a group, or this rank's of several: they are numbered over the ranks that write any. `writes`: 1 for those.
std::string share_file_name(const std::string& group, std::span<const int64_t> writes,
                            int64_t rank);

/// Rank 0's part, when everybody's files are there: config and index, which it adds to the manifest, and that last. Throws IoError.
void write_manifest(const std::string& folder, Manifest manifest, const std::string& config_json);

}  // namespace cria
