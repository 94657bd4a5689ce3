// Training checkpoints: everything a run needs to go on bit for bit, written so that a crash at any moment loses nothing.
// The commit protocol and the manifest are in docs/formats/checkpoint.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/params.h"

namespace cria {

/// What is saved and restored. The arenas are named groups ("weights", "master_lo", "master", "adam_m", "adam_v"); a group's tensors
/// are logical tensors with Hugging Face's names and global shapes, prefixed "<group>." except for "weights".
struct CheckpointContent {
  std::map<std::string, ParamArena*> groups;
  /// Whatever else is needed: counters, cursors, seeds, hashes, as a JSON object in text form; restored as it was saved.
  std::string state_json = "{}";
};

/// A folder of checkpoints `step-<10 digits>/`, open for writing by one process at a time.
class CheckpointStore {
 public:
  /// Makes the folder, takes its lock, test-writes it, and clears what dead runs left (`.tmp-*`, `*.part-*`, `.trash-*`).
  /// Throws IoError (locked by another run, not writable).
  explicit CheckpointStore(std::string root);
  ~CheckpointStore();

  /// Writes a checkpoint and commits it by one rename; then removes old ones down to `keep` (at least the newest two valid ones stay).
  /// `config` is written beside the weights, so that the folder of a step opens as a Hugging Face folder. Returns the folder.
  /// Throws IoError; older checkpoints are valid either way.
  std::string save(int64_t step, const LlamaConfig& config, const CheckpointContent& content,
                   int keep);

 private:
  std::string root_;
  int lock_ = -1;
};

/// Steps with a complete manifest, ascending. A folder without one does not exist.
std::vector<int64_t> checkpoint_steps(const std::string& root);
std::string checkpoint_folder(const std::string& root, int64_t step);

/// Fills the groups and returns the state. Every block's sum is verified before anything is used.
/// Throws FormatError naming file, offset, expected and found sum; MismatchError when groups, names, shapes or dtypes differ.
/// `content.groups` says which groups are wanted; a missing one is an error.
std::string load_checkpoint(const std::string& folder, CheckpointContent& content);

/// The newest checkpoint that loads: goes back over damaged ones with a warning each. Nothing when there is none at all;
/// throws MismatchError when there are some and none is valid.
std::optional<int64_t> load_newest_checkpoint(const std::string& root, CheckpointContent& content);

/// Verifies all sums of one checkpoint folder without loading; throws as load_checkpoint.
void verify_checkpoint(const std::string& folder);

}  // namespace cria
