// Checkpoints from one layout over devices to another: whole to cut, cut to whole, cut to differently cut; the recipe's .ckpt
// files and training checkpoints, either to either. docs/resharding.md tells what goes where.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/strategy.h"

namespace cria {

enum class CheckpointFormat { ckpt, native };

struct TransformOptions {
  /// As read_strategy takes them: file, folder, "" or "None" for whole. A training checkpoint as source has none: it knows how
  /// it is cut.
  std::string src_strategy, dst_strategy;
  /// A folder of rank_N/*.ckpt; for a whole checkpoint also one .ckpt file. Or a training checkpoint: a folder `step-<10 digits>`,
  /// or the folder of several, whose newest valid one counts.
  std::string src;
  /// Made when missing; result: `<dst>/rank_<r>/<prefix><r>.ckpt`, or `<dst>/step-<10 digits>`.
  std::string dst;
  CheckpointFormat format = CheckpointFormat::ckpt;  // of the result
  /// For .ckpt to native: the model's config.json, or its folder.
  std::string config;
  std::string prefix = "checkpoint_";
  /// Ranks written at the same time.
  int threads = 1;
  /// Only destination ranks [first_rank, first_rank + rank_count); 0: all. Others may be written by others at the same time.
  int64_t first_rank = 0, rank_count = 0;
  /// Called after each tensor of each rank, from any thread but never twice at once.
  std::function<void(int64_t done, int64_t total)> progress;
};

/// Nothing but bytes moves: types and values stay. Checks everything before it writes but the sums of training checkpoints, which
/// are compared while they are read; leaves no output when it fails. Memory: a few MiB per destination rank beyond the mapped
/// source, or a row of a tensor where that is more.
///
/// Parameters in neither strategy go whole to every rank, after the others; those of the source's
/// strategy that the destination's does not list are dropped, and so are those of other stages. From a training checkpoint come
/// the files that a run in that layout writes with `checkpoint_format: ckpt` (checkpoint/step_parts.h); every weight must be in
/// the strategy. To a training checkpoint: checkpoint/cut_native.h.
/// Throws UsageError, FormatError, IoError, and MismatchError when strategies and checkpoint do not
/// belong together, or none of several training checkpoints is valid.
void transform_checkpoint(const TransformOptions& options);
/// .ckpt to .ckpt with everything at hand: strategies in place of their paths, and the .ckpt of every rank of the source.
void transform_checkpoint(const TransformOptions& options, const Strategy& from,
                          const std::vector<std::string>& files, const Strategy& to);

}  // namespace cria
