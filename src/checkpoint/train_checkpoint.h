// Training checkpoints: everything a run needs to go on bit for bit, written so that a crash at any moment loses nothing.
// The commit protocol and the manifest are in docs/formats/checkpoint.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/groups.h"
#include "model/params.h"

namespace cria {

/// What is saved and restored: of each rank, its boxes. The arenas are named groups ("weights", "master_lo", "master", "adam_m",
/// "adam_v"); a group's tensors are logical tensors with Hugging Face's names and global shapes, prefixed "<group>." except for
/// "weights". All ranks have the same groups.
struct CheckpointContent {
  std::map<std::string, ParamArena*> groups;
  /// Whatever else is needed: counters, cursors, seeds, hashes, as a JSON object in text form; restored as it was saved. Rank 0's
  /// is kept.
  std::string state_json = "{}";
};

/// A folder of checkpoints `step-<10 digits>/`, open for writing by one run at a time. All ranks of the run make the object and
/// save together; each writes only its share, and rank 0 does the rest. When any rank fails, all throw, and nothing is committed.
class CheckpointStore {
 public:
  /// Makes the folder, takes its lock, test-writes it, and clears what dead runs left (`.tmp-*`, `*.part-*`, `.trash-*`).
  /// Throws IoError (locked by another run, not writable). The groups outlive the object.
  CheckpointStore(std::string root, Groups& groups);
  /// For one rank alone.
  explicit CheckpointStore(std::string root);
  ~CheckpointStore();

  /// Writes a checkpoint and commits it by one rename; then removes old ones down to `keep` (at least the newest two valid ones stay).
  /// `config` is written beside the weights: unless tensors are cut (tensor parallelism), the folder of a step opens as a Hugging
  /// Face folder. Returns the folder. Throws IoError; older checkpoints are valid either way.
  std::string save(int64_t step, const LlamaConfig& config, const CheckpointContent& content,
                   int keep);

  /// save() in two parts: a thread of this rank writes its share while the caller goes on. The arenas must stay as they are
  /// until finish(), which waits, commits, and throws what went wrong. All ranks call both. `threads` make the files' sums (0: as
  /// many as a pool has).
  void begin(int64_t step, const LlamaConfig& config, const CheckpointContent& content, int keep,
             int threads = 1);
  std::string finish();
  /// Between the two.
  [[nodiscard]] bool pending() const { return pending_ != nullptr; }

 private:
  struct Pending;
  void open_root();
  void abandon();
  [[nodiscard]] bool leads() const { return groups_->world.rank() == 0; }
  std::unique_ptr<OneRank> alone_;
  Groups* groups_;
  Comm reports_;
  std::string root_;
  std::unique_ptr<class FolderLock> lock_;  // rank 0's
  std::unique_ptr<Pending> pending_;
};

/// Whether this rank writes its box of a parameter: every element of the model is one rank's. The boxes that several ranks hold
/// are written by the lowest. Gives one answer for each parameter of the arena.
std::vector<bool> owned_params(const ParamArena& arena, const RankGrid& grid);

/// Steps with a complete manifest, ascending. A folder without one does not exist.
std::vector<int64_t> checkpoint_steps(const std::string& root);
std::string checkpoint_folder(const std::string& root, int64_t step);

/// Fills the groups' boxes, whatever layout the checkpoint was saved in, and returns the state. Every block's sum is verified
/// before it is used; after an error the arenas hold nothing of use. Throws FormatError naming file, offset, expected and found
/// sum; MismatchError when groups, names, shapes or dtypes differ. `content.groups` says which groups are wanted; a missing one
/// is an error.
std::string load_checkpoint(const std::string& folder, CheckpointContent& content);
/// All ranks together: when one of them fails, all throw.
std::string load_checkpoint(const std::string& folder, CheckpointContent& content, Comm& world);

/// The newest checkpoint that loads on all ranks: goes back over damaged ones with a warning each. Nothing when there is none at
/// all; throws MismatchError when there are some and none is valid.
std::optional<int64_t> load_newest_checkpoint(const std::string& root, CheckpointContent& content,
                                              Comm& world);
/// For one rank alone.
std::optional<int64_t> load_newest_checkpoint(const std::string& root, CheckpointContent& content);

/// Verifies all sums of one checkpoint folder, and that its boxes hold every tensor, without loading; throws as load_checkpoint.
void verify_checkpoint(const std::string& folder);

}  // namespace cria
