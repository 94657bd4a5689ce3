// MindSpore checkpoints from one layout over devices to another: whole to cut, cut to whole, cut to
// differently cut. docs/resharding.md tells what goes where.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/strategy.h"

namespace cria {

struct TransformOptions {
  /// As read_strategy takes them: file, folder, "" or "None" for whole.
  std::string src_strategy, dst_strategy;
  /// A folder of rank_N/*.ckpt; for a whole checkpoint also one .ckpt file.
  std::string src;
  /// Made when missing; result: `<dst>/rank_<r>/<prefix><r>.ckpt`.
  std::string dst;
  std::string prefix = "checkpoint_";
  /// Ranks written at the same time.
  int threads = 1;
  /// Only destination ranks [first_rank, first_rank + rank_count); 0: all. Others may be written by others at the same time.
  int64_t first_rank = 0, rank_count = 0;
  /// Called after each tensor of each rank, from any thread but never twice at once.
  std::function<void(int64_t done, int64_t total)> progress;
};

/// Nothing but bytes moves: types and values stay. Checks everything before it writes, and leaves
/// no output when it fails. Memory: a few MiB per destination rank beyond the mapped source, or a
/// row of a tensor where that is more.
///
/// Parameters in neither strategy go whole to every rank, after the others; those of the source's
/// strategy that the destination's does not list are dropped, and so are those of other stages.
/// Throws UsageError, FormatError, IoError, and MismatchError when strategies and checkpoint do not
/// belong together.
void transform_checkpoint(const TransformOptions& options);
/// The same with everything at hand: strategies in place of their paths, and the .ckpt of every rank of the source.
void transform_checkpoint(const TransformOptions& options, const Strategy& from,
                          const std::vector<std::string>& files, const Strategy& to);

}  // namespace cria
